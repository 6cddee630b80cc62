"""Renders the gateway: the pieces in `gateway/` become one static bootstrap for Envoy."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from typing import Any

import yaml

from services.catalog.processes import ANALYTICS, SERVICES, Process
from services.ctl.render import descriptor, endpoints
from services.ctl.render.tracing import Tracing
from services.ctl.supervisor.home import write_whole

PIECES = Path(__file__).resolve().parents[3] / "gateway"
HEALTH = "/grpc.health.v1.Health/"
REFLECTION = (
    "/grpc.reflection.v1alpha.ServerReflection/",
    "/grpc.reflection.v1.ServerReflection/",
)


Transport = Callable[[Process], dict[str, Any]]
"""Returns the transport socket with which the replicas of a service are dialled."""


def render(
    folder: Path,
    ports: Mapping[str, int],
    admin_port: int,
    *,
    transport: Transport | None = None,
    tracing: Tracing | None = None,
) -> Path:
    """Write bootstrap, descriptors and (empty, where absent) endpoints; return the bootstrap.

    `ports` has `ingress` and the health port of each service by its key. Without `transport`
    replicas are dialled in plain text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "contracts.binpb").write_bytes(descriptor.contracts().SerializeToString())
    (folder / "health.binpb").write_bytes(descriptor.short_health().SerializeToString())
    for service in SERVICES:
        if not (endpoints.folder(folder) / f"{service.key}.json").exists():
            endpoints.write(folder, service.key, [])
    bootstrap = _piece("bootstrap", admin_port=admin_port)
    bootstrap["static_resources"] = {
        "listeners": [
            _ingress(folder, ports["ingress"]),
            *(_health_listener(folder, service, ports[service.key]) for service in SERVICES),
        ],
        "clusters": [c for service in SERVICES for c in _clusters(folder, service, transport)],
    }
    if tracing is not None:
        tracing.trace(bootstrap, "gateway")
    target = folder / "bootstrap.yaml"
    write_whole(target, yaml.safe_dump(bootstrap, sort_keys=False))
    return target


def _ingress(folder: Path, port: int) -> dict[str, Any]:
    routes = [
        _piece("route-stream", match=json.dumps({"path": f"{HEALTH}Watch"}), cluster=ANALYTICS.key),
        _piece("route-read", match=json.dumps({"prefix": HEALTH}), cluster=ANALYTICS.key),
        *(
            _piece("route-stream", match=json.dumps({"prefix": prefix}), cluster=ANALYTICS.key)
            for prefix in REFLECTION
        ),
    ]
    for service in SERVICES:
        for method, kind in descriptor.kinds(service.grpc_service).items():
            match = json.dumps({"path": f"/{service.grpc_service}/{method}"})
            routes.append(_piece(f"route-{kind}", match=match, cluster=service.key))
    names = [service.grpc_service for service in SERVICES]
    return _listener("ingress", port, folder / "contracts.binpb", names, routes)


def _health_listener(folder: Path, service: Process, port: int) -> dict[str, Any]:
    cluster = f"{service.key}-direct"
    exact = [f"/{service.grpc_service}/{method}" for method in descriptor.SHORT_PATHS]
    routes = [
        *(_piece("route-direct", match=json.dumps({"path": p}), cluster=cluster) for p in exact),
        _piece("route-stream", match=json.dumps({"path": f"{HEALTH}Watch"}), cluster=cluster),
        _piece("route-direct", match=json.dumps({"prefix": HEALTH}), cluster=cluster),
        *(
            _piece("route-stream", match=json.dumps({"prefix": prefix}), cluster=cluster)
            for prefix in REFLECTION
        ),
    ]
    name = f"health-{service.key}"
    return _listener(name, port, folder / "health.binpb", [service.grpc_service], routes)


def _listener(
    name: str, port: int, contracts: Path, services: list[str], routes: list[dict[str, Any]]
) -> dict[str, Any]:
    return _piece(
        "listener",
        name=name,
        port=port,
        descriptor=json.dumps(str(contracts)),
        services=json.dumps(services),
        routes=json.dumps(routes),
    )


def _clusters(folder: Path, service: Process, transport: Transport | None) -> list[dict[str, Any]]:
    eds = endpoints.folder(folder)
    values = {
        "service": service.key,
        "grpc_service": service.grpc_service,
        "eds_file": json.dumps(str(eds / f"{service.key}.json")),
        "eds_folder": json.dumps(str(eds)),
    }
    secured = {"transport_socket": transport(service)} if transport else {}
    return [_piece(name, **values) | secured for name in ("cluster-checked", "cluster-direct")]


def _piece(piece: str, /, **values: str | int) -> dict[str, Any]:
    text = (PIECES / f"{piece}.yaml").read_text()
    made: dict[str, Any] = yaml.safe_load(Template(text).substitute(values))
    return made
