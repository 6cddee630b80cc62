"""Renders the gateway's endpoint files (EDS): the only part of its configuration that changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.catalog.processes import SERVICES
from services.ctl.render import address
from services.ctl.supervisor.home import write_whole

TYPE = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"


def folder(envoy: Path) -> Path:
    """Where Envoy watches for new endpoint files."""
    return envoy / "eds"


def render(envoy: Path, endpoints: Mapping[str, Any]) -> None:
    """Write one file per service with what peers dial for each of its instances."""
    folder(envoy).mkdir(parents=True, exist_ok=True)
    for service in SERVICES:
        targets = [
            instance["mesh"]
            for instance in endpoints["instances"].values()
            if instance["service"] == service.key
        ]
        write(envoy, service.key, targets)


def write(envoy: Path, service: str, targets: list[str]) -> None:
    """Put the endpoint file of one service in place by a rename, which Envoy notices."""
    folder(envoy).mkdir(parents=True, exist_ok=True)
    assignment = {
        "@type": TYPE,
        "cluster_name": service,
        "endpoints": [{"lb_endpoints": [_endpoint(target) for target in targets]}],
    }
    text = json.dumps({"resources": [assignment]}, indent=2)
    write_whole(folder(envoy) / f"{service}.json", text + "\n")


def _endpoint(target: str) -> dict[str, Any]:
    return {"endpoint": {"address": address.endpoint(target)}}
