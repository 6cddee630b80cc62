"""Renders the alert rules of Prometheus for its operator, from those of every other way to run.

Recording rules in which a process stands for its container are left out: a cluster's kubelets
measure containers. The rules of the mesh are left out: there the proxies are Istio's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "mesh" / "observability" / "rules" / "system.yml"
INSTEAD_OF_KUBELETS = {"source": "process"}
"""Labels of recording rules that are for machines on which nobody measures containers."""


def render() -> list[dict[str, Any]]:
    """Return the PrometheusRule."""
    groups = [
        {**group, "rules": [r for r in group["rules"] if r.get("labels") != INSTEAD_OF_KUBELETS]}
        for group in yaml.safe_load(RULES.read_text())["groups"]
    ]
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "quantum-trader"},
            "spec": {"groups": groups},
        }
    ]
