"""Renders the gateway: the pieces in `gateway/` become one static bootstrap for Envoy."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from services.catalog.processes import SERVICES, Process
from services.ctl.policy import Policy
from services.ctl.render import authentication, descriptor, endpoints, listeners
from services.ctl.render.pieces import DUMPER, piece
from services.ctl.render.tracing import SYSTEM_CA, Tracing
from services.ctl.settings import GatewaySettings
from services.ctl.supervisor.home import write_whole

OPENAPI = Path(__file__).resolve().parents[3] / "docs" / "openapi.json"


Transport = Callable[[Process], dict[str, Any]]
"""Returns the transport socket with which the replicas of a service are dialled."""


def render(
    folder: Path,
    ports: Mapping[str, int],
    admin_port: int,
    *,
    policy: Policy,
    settings: GatewaySettings,
    transport: Transport | None = None,
    tracing: Tracing | None = None,
) -> Path:
    """Write bootstrap, descriptors and (empty, where absent) endpoints; return the bootstrap.

    `ports` has `ingress`, `tls` and the health port of each service by its key. Token checks
    (`authentication.write`) and the server's certificate (`certificate.write`) lie beside it.
    Without `transport` replicas are dialled in plain text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "contracts.binpb").write_bytes(descriptor.contracts().SerializeToString())
    (folder / "health.binpb").write_bytes(descriptor.short_health().SerializeToString())
    write_whole(folder / "openapi.json", OPENAPI.read_text())
    for service in SERVICES:
        if not (endpoints.folder(folder) / f"{service.key}.json").exists():
            endpoints.write(folder, service.key, [])
    bootstrap = piece("bootstrap", admin_port=admin_port, connections=settings.gateway_connections)
    system_ca = ssl.get_default_verify_paths().cafile or SYSTEM_CA
    bootstrap["static_resources"] = {
        "listeners": [
            *listeners.main_doors(folder, policy, settings, ports["ingress"], ports["tls"]),
            *(
                listeners.health_port(folder, service, settings, ports[service.key])
                for service in SERVICES
            ),
        ],
        "clusters": [
            *(c for service in SERVICES for c in _clusters(folder, service, transport)),
            *authentication.oidc_clusters(settings, system_ca),
        ],
    }
    if tracing is not None:
        tracing.trace(bootstrap, "gateway")
    target = folder / "bootstrap.yaml"
    write_whole(target, yaml.dump(bootstrap, Dumper=DUMPER, sort_keys=False))
    return target


def _clusters(folder: Path, service: Process, transport: Transport | None) -> list[dict[str, Any]]:
    eds = endpoints.folder(folder)
    values = {
        "service": service.key,
        "grpc_service": service.grpc_service,
        "eds_file": json.dumps(str(eds / f"{service.key}.json")),
        "eds_folder": json.dumps(str(eds)),
    }
    secured = {"transport_socket": transport(service)} if transport else {}
    return [piece(name, **values) | secured for name in ("cluster-checked", "cluster-direct")]
