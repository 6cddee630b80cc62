# Everything that people and CI do with this repository. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
REAL_SERVERS := tests/grpc tests/integration tests/system
.SHELLFLAGS := -o pipefail -c

.DEFAULT_GOAL := help
.PHONY: help install up test check gen release-contracts drills

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make the virtual environment and install everything

# Only what decides about packages is a prerequisite: nothing changed means nothing to do.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: Python 3.11 or newer is needed; say make PYTHON=python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

up: install ## run the whole system here: make up ARGS="--market ../shared/data/perp-1m-2025-05 --speed 60"
	@$(BIN)/qt up $(ARGS)

test: install ## all tests, real servers included, without the drills
	@$(BIN)/python -m pytest -m "not drill" -n 2 --dist loadfile tests/unit tests/contract tests/config $(ARGS)
	@$(BIN)/python -m pytest -m "not drill" -n 2 --dist loadfile $(REAL_SERVERS) $(ARGS) \
		|| { test $$? -eq 1 && echo "make: what failed beside others, once more and alone (docs/decisions/0016)" \
		&& $(BIN)/python -m pytest -m "not drill" --last-failed --last-failed-no-failures none $(REAL_SERVERS) $(ARGS); }

drills: install ## the long proofs
	@$(BIN)/python -m pytest -m drill --timeout=3600 $(ARGS)

check: install ## style, types, contracts, fresh generated code, house rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/buf lint
	$(BIN)/buf build -o - | $(BIN)/buf breaking - --against protos/released.binpb \
		--config '{"version":"v2","breaking":{"use":["WIRE_JSON"]}}'
	$(BIN)/python -m pytest -q tests/contract tests/config

gen: install ## generate code, descriptor, docs/openapi.json, docs/events.md, dashboards, and what is made from mesh/policy.yaml
	@$(BIN)/python -m services.ctl.codegen
	@$(BIN)/python -m services.ctl.render.openapi
	@$(BIN)/python -m services.ctl.generate
	@$(BIN)/python -m services.ctl.render.dashboards

release-contracts: install ## what later contracts are compared with becomes the contracts of now
	@$(BIN)/buf build -o protos/released.binpb
