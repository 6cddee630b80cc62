"""The doors: loopback and TLS with all services, and a health port for each service."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.catalog.processes import ANALYTICS, SERVICES, Process
from services.catalog.subjects import HEADER_TRACE
from services.ctl.policy import Door, Policy
from services.ctl.render import authentication, certificate, descriptor, limits
from services.ctl.render.authentication import ROLE_HEADER
from services.ctl.render.pieces import piece
from services.ctl.servers.free import LOOPBACK
from services.ctl.settings import GatewaySettings
from services.kit.caller import SUBJECT_HEADER

HEALTH = "/grpc.health.v1.Health/"
REFLECTION = (
    "/grpc.reflection.v1alpha.ServerReflection/",
    "/grpc.reflection.v1.ServerReflection/",
)
INNER = (
    "grpc-status",
    "grpc-message",
    "grpc-previous-rpc-attempts",
    "grpc-retry-pushback-ms",
    "grpc-tags-bin",
    "grpc-trace-bin",
    "grpc-server-stats-bin",
    "endpoint-load-metrics-bin",
    "lb-token",
    "lb-cost-bin",
)
"""Headers that gRPC itself reads and no client of ours sends. A value that it cannot read spoils
the table of headers of the connection, which carries the calls of others too."""
NAMES: list[dict[str, Any]] = [{"remove": name} for name in (SUBJECT_HEADER, ROLE_HEADER, *INNER)]
"""Only a checked token may say who it is."""
FLAG_DOWN = {
    "append": {
        "header": {"key": HEADER_TRACE, "value": f"%REQ({HEADER_TRACE}):53%00"},
        "append_action": "OVERWRITE_IF_EXISTS",
    }
}
"""Who comes from elsewhere may name its trace; what is written of it is not for it to say."""
THIS_MACHINE = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"
EVERY_CALL, ONLY_FAILED = 0, 500
"""Least status that the access log tells."""
CANONICAL = {400: 3, 401: 16, 403: 7, 404: 5, 408: 4, 413: 3, 429: 8, 431: 8, 503: 14, 504: 4}
"""gRPC code of what the gateway itself refuses, by HTTP status."""
TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
CORS = "envoy.filters.http.cors"


def main_doors(
    folder: Path, policy: Policy, settings: GatewaySettings, loopback: int, tls: int
) -> list[dict[str, Any]]:
    """Return the loopback door and the TLS door; `folder` holds what they read."""
    plain = _main(folder, policy, settings, "loopback", "ingress", loopback, LOOPBACK)
    secure = _main(folder, policy, settings, "tls", "tls", tls, settings.gateway_tls_host)
    sds = certificate.folder(folder)
    secure["filter_chains"][0]["transport_socket"] = piece(
        "tls", sds_file=json.dumps(str(sds / "server.json")), sds_folder=json.dumps(str(sds))
    )
    secure["access_log"] = [piece("log-refused-connections", name="tls")]
    return [plain, secure]


def _main(
    folder: Path,
    policy: Policy,
    settings: GatewaySettings,
    door: Door,
    name: str,
    port: int,
    host: str,
) -> dict[str, Any]:
    services = [service.grpc_service for service in SERVICES]
    transcoder = _transcoder(folder / "contracts.binpb", services, settings)
    filters = [
        piece("filter-headers"),
        {"name": CORS, "typed_config": _empty("cors.v3.Cors")},
        *([limits.per_address(settings)] if door == "tls" else []),
        limits.size(settings),
        {"name": "envoy.filters.http.grpc_web", "typed_config": _empty("grpc_web.v3.GrpcWeb")},
        authentication.token_filter(folder, door),
        limits.per_client(settings),
        transcoder,
        authentication.role_filter(policy, settings, door),
        _router(),
    ]
    names = [LOOPBACK, "[::1]", *settings.gateway_names] if door == "loopback" else ["*"]
    # JSON finds its route behind the transcoder; this one only brings the rules of CORS to it,
    # which a direct response would not
    before = {"match": {"prefix": "/v1/"}, "route": {"cluster": ANALYTICS.key, "timeout": "5s"}}
    routes = [_document(folder), *_main_routes(), before]
    mutations = [*NAMES, FLAG_DOWN] if door == "tls" else NAMES
    listener = _listener(name, host, port, filters, routes, names, EVERY_CALL, mutations)
    [virtual_host] = _connection(listener)["route_config"]["virtual_hosts"]
    exact = [{"exact": origin} for origin in settings.gateway_cors_origins]
    origins = [{"safe_regex": {"regex": THIS_MACHINE}}, *exact]
    virtual_host["typed_per_filter_config"] = {CORS: piece("cors", origins=json.dumps(origins))}
    return listener


def _main_routes() -> list[dict[str, Any]]:
    routes = [
        piece("route-stream", match=json.dumps({"path": f"{HEALTH}Watch"}), cluster=ANALYTICS.key),
        piece("route-read", match=json.dumps({"prefix": HEALTH}), cluster=ANALYTICS.key),
        *(
            piece("route-stream", match=json.dumps({"prefix": prefix}), cluster=ANALYTICS.key)
            for prefix in REFLECTION
        ),
    ]
    for service in SERVICES:
        for method, kind in descriptor.kinds(service.grpc_service).items():
            match = json.dumps({"path": f"/{service.grpc_service}/{method}"})
            routes.append(piece(f"route-{kind}", match=match, cluster=service.key))
    return routes


def _document(folder: Path) -> dict[str, Any]:
    return piece(
        "route-openapi",
        path=authentication.OPENAPI_PATH,
        file=json.dumps(str(folder / "openapi.json")),
        transcoder=TRANSCODER,
    )


def health_port(
    folder: Path, service: Process, settings: GatewaySettings, port: int
) -> dict[str, Any]:
    """Return the listener with `/health` and `/ready` of one service, open to this machine."""
    cluster = f"{service.key}-direct"
    exact = [f"/{service.grpc_service}/{method}" for method in descriptor.SHORT_PATHS]
    routes = [
        *(piece("route-direct", match=json.dumps({"path": p}), cluster=cluster) for p in exact),
        piece("route-stream", match=json.dumps({"path": f"{HEALTH}Watch"}), cluster=cluster),
        piece("route-direct", match=json.dumps({"prefix": HEALTH}), cluster=cluster),
        *(
            piece("route-stream", match=json.dumps({"prefix": prefix}), cluster=cluster)
            for prefix in REFLECTION
        ),
    ]
    filters = [
        piece("filter-headers"),
        limits.size(settings),
        {"name": "envoy.filters.http.grpc_web", "typed_config": _empty("grpc_web.v3.GrpcWeb")},
        _transcoder(folder / "health.binpb", [service.grpc_service], settings),
        _router(),
    ]
    name = f"health-{service.key}"
    listener = _listener(name, LOOPBACK, port, filters, routes, ["*"], ONLY_FAILED)
    # a gateway full of callers still says how the services are
    listener["ignore_global_conn_limit"] = True
    return listener


def _listener(
    name: str,
    host: str,
    port: int,
    filters: Sequence[dict[str, Any]],
    routes: Sequence[dict[str, Any]],
    domains: Sequence[str],
    least_status: int,
    mutations: Sequence[dict[str, Any]] = NAMES,
) -> dict[str, Any]:
    return piece(
        "listener",
        name=name,
        host=json.dumps(host),
        port=port,
        filters=json.dumps(filters),
        routes=json.dumps(routes),
        domains=json.dumps(domains),
        least_status=least_status,
        mutations=json.dumps(mutations),
        local_replies=json.dumps([_refusal(*pair) for pair in CANONICAL.items()]),
    )


def _refusal(status: int, code: int) -> dict[str, Any]:
    """Return how the gateway's own refusal looks to a JSON caller: as a service's error does."""
    return piece("local-reply", status=status, code=code)


def _connection(listener: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def _transcoder(contracts: Path, services: list[str], settings: GatewaySettings) -> dict[str, Any]:
    return piece(
        "filter-transcoder",
        descriptor=json.dumps(str(contracts)),
        services=json.dumps(services),
        bytes=settings.gateway_request_bytes,
    )


def _router() -> dict[str, Any]:
    return {"name": "envoy.filters.http.router", "typed_config": _empty("router.v3.Router")}


def _empty(kind: str) -> dict[str, str]:
    return {"@type": f"type.googleapis.com/envoy.extensions.filters.http.{kind}"}
