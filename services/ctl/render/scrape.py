"""What a Prometheus of one machine scrapes: its configuration, and the targets as they are now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from services.catalog.processes import ON_DEMAND, PROCESSES
from services.catalog.processes import process as process_of
from services.ctl.policy import GATEWAY
from services.ctl.render.stats import PATH

RULES = Path(__file__).resolve().parents[3] / "mesh" / "observability" / "rules"
INTERVAL = "5s"
PROXIES = "proxies"
"""Job of the Envoys, as in compose; the label `service` says whose each is."""


def configuration(targets: Path) -> str:
    """Return the configuration: a job a process name, its targets in a file of its own."""
    jobs: list[dict[str, Any]] = [
        {"job_name": process.name, **_found(targets, process.name)}
        for process in (*PROCESSES, *ON_DEMAND)
    ]
    jobs.append({"job_name": PROXIES, "metrics_path": PATH, **_found(targets, PROXIES)})
    made = {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": [str(RULES / "*.yml")],
        "scrape_configs": jobs,
    }
    return yaml.safe_dump(made, sort_keys=False)


def _found(targets: Path, job: str) -> dict[str, Any]:
    return {"file_sd_configs": [{"files": [str(targets / f"{job}.json")]}]}


def targets(endpoints: Mapping[str, Any]) -> dict[str, str]:
    """Return the target files by name, of what `endpoints.json` says."""
    jobs: dict[str, list[dict[str, Any]]] = {p.name: [] for p in (*PROCESSES, *ON_DEMAND)}
    proxies = [_target(endpoints["admin"], service=GATEWAY)] if endpoints.get("admin") else []
    for instance in endpoints.get("instances", {}).values():
        process = process_of(instance["service"])
        jobs[process.name].append(_target(instance["metrics"]))
        if "admin" in instance:
            proxies.append(_target(instance["admin"], service=process.name))
    files = {**jobs, PROXIES: proxies}
    return {f"{name}.json": json.dumps(rows, indent=1) for name, rows in files.items()}


def _target(address: str, **labels: str) -> dict[str, Any]:
    return {"targets": [address.removeprefix("http://")], "labels": labels}
