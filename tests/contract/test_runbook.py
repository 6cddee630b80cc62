"""Every alert that can be raised has its heading in the runbook, with what to do."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.analytics.core.alerting.kinds import (
    KINDS,
    PROMETHEUS,
    AlertKind,
    kind_of,
    runbook_of,
)
from services.ctl.commands.table import COMMANDS
from services.exec_risk.core.reconciling.differences import REPORTED

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
RULES = ROOT / "mesh" / "observability" / "rules" / "system.yml"
PARTS = ("- Means: ", "- Did by itself: ", "- Look at: ", "- Do: ")
REPORTED_BY = "services/exec_risk/core/reconciling/reconcile.py"
"""The one call whose type is made: of a difference that is only reported."""


def calls() -> Iterator[tuple[str, ast.expr]]:
    """Return the file and the type of every alert that is raised."""
    for path in sorted((ROOT / "services" / "exec_risk").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if called == "alert":
                yield name, node.args[1]
            for keyword in node.keywords:
                if keyword.arg == "alert_type" and isinstance(keyword.value, ast.Constant):
                    yield name, keyword.value


def alert_types() -> set[str]:
    found = {f"{kind}_DIFFERS".upper() for kind in REPORTED}
    for name, kind in calls():
        if isinstance(kind, ast.Constant):
            found.add(str(kind.value))
        else:
            assert name == REPORTED_BY, f"{name}: an alert's type is a literal"
    return found | {"UNKNOWN_ORDER"}


def sections() -> dict[str, str]:
    """Return the text under each heading that names an alert type."""
    parts = re.split(r"^#+ (.+)$", RUNBOOK, flags=re.MULTILINE)
    named = zip(parts[1::2], parts[2::2], strict=True)
    return {h.split()[0]: text for h, text in named if re.match(r"[A-Z_]+\b(?: \(|$)", h)}


def test_alerts_are_found() -> None:
    assert {"CORE_EXCEPTION", "POSTGRES_AWAY", "MARGIN_TYPE_DIFFERS"} <= alert_types()


def test_the_runbook_has_no_heading_of_an_alert_that_is_gone() -> None:
    assert sections().keys() <= alert_types()


@pytest.mark.parametrize("kind", sorted(alert_types()))
def test_every_alert_has_its_heading(kind: str) -> None:
    assert kind in sections(), f"docs/runbook.md has no heading `## {kind}`"
    assert [part for part in PARTS if part not in sections()[kind]] == []


def test_every_command_of_the_runbook_exists() -> None:
    named = set(re.findall(r"\bqt ([a-z]+)", RUNBOOK))
    assert len(named) > 10 and named <= COMMANDS.keys()


def system_sections() -> dict[str, tuple[str, str]]:
    """Return heading and text of each kind of alert of the system."""
    parts = re.split(r"^## (.+)$", RUNBOOK, flags=re.MULTILINE)
    named = zip(parts[1::2], parts[2::2], strict=True)
    return {h.split()[0]: (h, text) for h, text in named if re.match(r"([A-Z][a-z]+){2,} \(", h)}


def test_the_system_has_a_heading_for_each_kind_and_no_other() -> None:
    assert set(system_sections()) == {kind.name for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_says_what_to_do_with_its_severity(kind: AlertKind) -> None:
    heading, text = system_sections()[kind.name]
    assert [part for part in PARTS if part not in text] == []
    assert kind.severity in heading
    told = f"SEV-{kind.level}" if kind.level else None
    assert told is None or told in heading
    assert ("told by Prometheus" in heading) == (kind.by == PROMETHEUS)
    assert runbook_of(kind.name) == f"docs/runbook.md#{kind.name.lower()}"


def rules() -> list[dict[str, Any]]:
    """Return the alert rules of Prometheus."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_every_rule_of_prometheus_is_a_kind_and_every_kind_of_prometheus_has_a_rule() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    assert set(names) <= {kind.name for kind in KINDS}
    assert {kind.name for kind in KINDS if kind.by == PROMETHEUS} <= set(names)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_a_rule_has_the_severity_and_place_of_its_kind(rule: dict[str, Any]) -> None:
    kind = kind_of(rule["alert"])
    words = {"critical": "CRITICAL", "high": "HIGH", "warning": "MEDIUM"}
    assert words[rule["labels"]["severity"]] == kind.severity
    assert rule["labels"]["component"], "by name and component it is the same alert as analytics'"
    assert rule["annotations"]["runbook_url"] == runbook_of(kind.name)


def test_every_metric_of_a_rule_is_made_somewhere() -> None:
    """An alert on a metric that nobody makes never fires."""
    source = "".join(p.read_text() for p in (ROOT / "services").rglob("*.py"))
    for rule in yaml.safe_load(RULES.read_text())["groups"]:
        for one in rule["rules"]:
            text = one["expr"].replace("(ai|exec_risk|analytics_os)_service_", "ai_service_")
            found = re.findall(r"\b(?:ai|exec_risk|analytics_os)_service_([a-z_]+)", text)
            for name in found:
                base = name.removesuffix("_bucket")
                assert f'"{base}"' in source, f"{one}: nobody makes {name}"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True)  # noqa: S607
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
