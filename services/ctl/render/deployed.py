"""Renders what a cluster holds of `mesh/policy.yaml` and the catalog, a part of `make gen`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from services.ctl.backup.schedule import Timer
from services.ctl.policy import Policy
from services.ctl.render import alert_rules, istio, network_policies, workload_names
from services.ctl.render.cluster_names import GENERATED

RENDERED = "mesh/kubernetes/base/rendered"
BACKUP = "mesh/kubernetes/components/backup/backup.yaml"


def files(policy: Policy) -> Mapping[str, str]:
    """Return the text of each file by its path from the root of the repository."""
    return {
        f"{RENDERED}/names.yaml": _documents(workload_names.render()),
        f"{RENDERED}/network-policies.yaml": _documents(network_policies.render(policy)),
        f"{RENDERED}/istio.yaml": _documents(istio.render(policy)),
        f"{RENDERED}/alert-rules.yaml": _documents(alert_rules.render()),
        BACKUP: f"# {GENERATED}\n{Timer('qt', Path('.quantum')).cronjob()}",
    }


def _documents(documents: list[dict[str, Any]]) -> str:
    # through JSON, so that no value is the same object as another, which YAML would refer to
    separate = json.loads(json.dumps(documents))
    return f"# {GENERATED}\n{yaml.safe_dump_all(separate, sort_keys=False, width=120)}"
