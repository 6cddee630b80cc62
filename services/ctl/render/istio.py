"""Renders the mesh of a cluster, Istio's resources, from `mesh/policy.yaml`.

Time limits, retries, balancing and outlier detection are those of the embedded mesh: they are read
from its pieces in `gateway/`.
"""

from __future__ import annotations

from collections.abc import Iterable
from string import Template
from typing import Any

import yaml

from services.catalog import ports
from services.ctl.policy import ANY, GATEWAY, Policy
from services.ctl.render import descriptor
from services.ctl.render.cluster_names import (
    APP,
    called,
    host,
    principal,
    workload,
)
from services.ctl.render.pieces import PIECES

Resource = dict[str, Any]
KINDS = ("stream", "write", "read")
FOREIGN = {
    "grpc.health.v1.Health": {"Check": "read", "Watch": "stream"},
    "grpc.reflection.v1.ServerReflection": {"ServerReflectionInfo": "stream"},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": "stream"},
}
"""Methods of services whose contracts are not ours, and what each is."""
TRACES = "quantum-trader-traces"
"""Name of the OpenTelemetry provider in the cluster's MeshConfig."""
RETRY_ON = ("unavailable", "connect-failure", "refused-stream", "reset")
"""What every Istio takes of Envoy's conditions."""


def render(policy: Policy) -> list[Resource]:
    """Return all resources of the mesh."""
    return [
        _resource("security", "PeerAuthentication", "all", {"mtls": {"mode": "STRICT"}}),
        *(_peers(key, ports.METRICS, "PERMISSIVE") for key in called()),
        # its callers have no certificate of the mesh: it asks them for a token
        _peers(GATEWAY, ports.INGRESS_TLS, "DISABLE"),
        # allows nothing: what no other policy allows is denied
        _resource("security", "AuthorizationPolicy", "nobody", {}),
        *(_callers(policy, key) for key in called()),
        _anybody(GATEWAY, ports.INGRESS_TLS),
        *(_routes(policy, key) for key in called()),
        *(_cluster(key) for key in called()),
        _traces(),
    ]


def _traces() -> Resource:
    """Spans of all proxies: a caller's choice stands, and only who brings none is always traced.

    A smaller share would also drop what a caller has chosen; only scrapes of metrics bring none.
    """
    written = {"providers": [{"name": TRACES}], "randomSamplingPercentage": 100.0}
    return _resource("telemetry", "Telemetry", "traces", {"tracing": [written]})


def _resource(group: str, kind: str, name: str, spec: Resource) -> Resource:
    return {
        "apiVersion": f"{group}.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def _selector(name: str) -> Resource:
    return {"selector": {"matchLabels": {APP: name}}}


def _peers(identity: str, port: int, mode: str) -> Resource:
    name = workload(identity)
    modes = {"mtls": {"mode": "STRICT"}, "portLevelMtls": {str(port): {"mode": mode}}}
    return _resource("security", "PeerAuthentication", name, _selector(name) | modes)


def _callers(policy: Policy, callee: str) -> Resource:
    name = workload(callee)
    rules: list[Resource] = [
        {
            "from": [{"source": {"principals": [principal(caller)]}}],
            "to": [_operation(ports.GRPC, "POST", [f"/{method}" for method in methods])],
        }
        for caller, methods in policy.callers_of(callee).items()
    ]
    # read by Prometheus, which the NetworkPolicy lets in alone
    rules.append({"to": [_operation(ports.METRICS, "GET", ["/metrics"])]})
    spec = _selector(name) | {"action": "ALLOW", "rules": rules}
    return _resource("security", "AuthorizationPolicy", name, spec)


def _operation(port: int, method: str, paths: list[str]) -> Resource:
    return {"operation": {"ports": [str(port)], "methods": [method], "paths": paths}}


def _anybody(identity: str, port: int) -> Resource:
    name = workload(identity)
    rules = [{"to": [{"operation": {"ports": [str(port)]}}]}]
    spec = _selector(name) | {"action": "ALLOW", "rules": rules}
    return _resource("security", "AuthorizationPolicy", name, spec)


def methods(policy: Policy, callee: str) -> dict[str, list[str]]:
    """Return the paths that anybody may call of a callee, by what they are.

    Istio itself retries every call twice where nothing is said, also those that change something.
    """
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    allowed = dict.fromkeys(m for ms in policy.callers_of(callee).values() for m in ms)
    for service, method in (path.split("/") for path in allowed):
        known = FOREIGN.get(service) or descriptor.kinds(service)
        for name, kind in known.items():
            path = f"/{service}/{name}"
            if method in (name, ANY) and path not in found[kind]:
                found[kind].append(path)
    return found


def _routes(policy: Policy, callee: str) -> Resource:
    name = workload(callee)
    to = [{"destination": {"host": host(name), "port": {"number": ports.GRPC}}}]
    routes = [
        {
            "name": kind,
            "match": [{"uri": {"exact": path}} for path in paths],
            "route": to,
            **_limits(kind),
        }
        for kind, paths in methods(policy, callee).items()
        if paths
    ]
    spec = {"hosts": [host(name)], "gateways": ["mesh"], "http": routes}
    return _resource("networking", "VirtualService", name, spec)


def _limits(kind: str) -> Resource:
    route = _piece(f"route-{kind}")["route"]
    retry = route.get("retry_policy")
    if retry is None:
        return {"timeout": route["timeout"], "retries": {"attempts": 0}}
    asked = str(retry["retry_on"]).split(",")
    return {
        "timeout": route["timeout"],
        "retries": {
            "attempts": retry["num_retries"],
            "retryOn": ",".join(condition for condition in RETRY_ON if condition in asked),
        },
    }


def _cluster(callee: str) -> Resource:
    cluster = _piece("cluster-checked")
    outliers = cluster["outlier_detection"]
    [limits] = cluster["circuit_breakers"]["thresholds"]
    traffic = {
        "tls": {"mode": "ISTIO_MUTUAL"},
        "loadBalancer": {"simple": cluster["lb_policy"]},
        "connectionPool": {
            "tcp": {"connectTimeout": cluster["connect_timeout"]},
            "http": {
                "h2UpgradePolicy": "UPGRADE",
                "http1MaxPendingRequests": limits["max_pending_requests"],
                "http2MaxRequests": limits["max_requests"],
                "maxRetries": limits["retry_budget"]["min_retry_concurrency"],
            },
        },
        "outlierDetection": {
            "splitExternalLocalOriginErrors": outliers["split_external_local_origin_errors"],
            "consecutiveLocalOriginFailures": outliers["consecutive_local_origin_failure"],
            "consecutiveGatewayErrors": outliers["consecutive_gateway_failure"],
            "consecutive5xxErrors": outliers["consecutive_5xx"],
            "interval": outliers["interval"],
            "baseEjectionTime": outliers["base_ejection_time"],
            "maxEjectionPercent": outliers["max_ejection_percent"],
        },
    }
    name = workload(callee)
    spec = {"host": host(name), "trafficPolicy": traffic}
    return _resource("networking", "DestinationRule", name, spec)


def _piece(name: str) -> Resource:
    text = Template((PIECES / f"{name}.yaml").read_text())
    holes: Iterable[str] = text.get_identifiers()
    found: Resource = yaml.safe_load(text.substitute(dict.fromkeys(holes, '"-"')))
    return found
