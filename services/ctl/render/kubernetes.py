"""Renders what a cluster holds of `mesh/policy.yaml` and the catalog: a part of `make gen`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from services.ctl import policy
from services.ctl.render import istio, network_policies, workload_names
from services.ctl.render.cluster_names import GENERATED

TARGET = Path(__file__).resolve().parents[3] / "mesh" / "kubernetes" / "base" / "rendered"


def render(table: policy.Policy) -> dict[str, str]:
    """Return the text of each file by its name."""
    return {
        "names.yaml": _text(workload_names.render()),
        "network-policies.yaml": _text(network_policies.render(table)),
        "istio.yaml": _text(istio.render(table)),
    }


def write(target: Path = TARGET) -> None:
    """Put the files in place."""
    target.mkdir(parents=True, exist_ok=True)
    for name, text in render(policy.load()).items():
        (target / name).write_text(text)


def _text(documents: list[dict[str, Any]]) -> str:
    # through JSON, so that no value is the same object as another, which YAML would refer to
    separate = json.loads(json.dumps(documents))
    return f"# {GENERATED}\n{yaml.safe_dump_all(separate, sort_keys=False, width=120)}"


if __name__ == "__main__":
    write()
