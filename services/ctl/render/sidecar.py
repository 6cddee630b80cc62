"""Renders a sidecar: the pieces in `mesh/sidecar` become one static bootstrap for Envoy.

Inbound, callers prove who they are and may call what `mesh/policy.yaml` allows them. Outbound, the
service names its callee by authority, the callee's process name; what the policy does not allow
has no route.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from services.catalog.processes import Process, process
from services.ctl.policy import ANY, Policy
from services.ctl.render import descriptor
from services.ctl.render.address import endpoint, listen
from services.ctl.render.tracing import Tracing
from services.ctl.render.transport import Credentials, piece
from services.ctl.supervisor.home import write_whole

CONNECTION_SECONDS = 600
"""Longest age of a connection between proxies; then its identity is proved again."""
FOREIGN = {"Check": "read", "List": "read"}
"""Kinds of the methods of health; what is not listed, reflection too, is a stream."""


@dataclass(frozen=True, slots=True)
class Dns:
    """A callee whose replicas have one name and one port."""

    host: str
    port: int


Peer = Path | Dns
"""Where the replicas of a callee are told: a folder of endpoint files, or DNS."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What one sidecar must know."""

    instance: str
    process: Process
    service: str
    """Where the service itself listens, host:port or `unix:/path`."""
    inbound: str
    """Where peers connect to, host:port."""
    outbound: str
    """Where the service connects to for its own calls; not used when it calls nobody."""
    admin: str
    """Envoy's own answers, on the loopback."""
    credentials: Credentials
    peers: Mapping[str, Peer] = field(default_factory=dict)
    """By the callee's key."""
    connection_seconds: float = CONNECTION_SECONDS
    tracing: Tracing | None = None


def render(target: Path, sidecar: Sidecar, policy: Policy) -> Path:
    """Write the bootstrap and return it. A callee of the policy without a peer is left out."""
    callees = [key for key in callees_of(sidecar.process.key, policy) if key in sidecar.peers]
    bootstrap: dict[str, Any] = piece(
        "bootstrap",
        instance=json.dumps(sidecar.instance),
        service=json.dumps(sidecar.process.name),
        admin=json.dumps(listen(sidecar.admin)),
    )
    listeners = [_inbound(sidecar, policy)]
    if callees:
        listeners.append(_outbound(sidecar, policy, callees))
    service = piece("cluster-service", address=json.dumps(endpoint(sidecar.service)))
    clusters = [service, *(_peer(sidecar, policy, callee) for callee in callees)]
    bootstrap["static_resources"] = {"listeners": listeners, "clusters": clusters}
    if sidecar.tracing is not None:
        # where a trace begins is not for a sidecar to say: health checks have none
        sidecar.tracing.trace(bootstrap, f"{sidecar.process.name}.sidecar", begins=0)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, yaml.safe_dump(bootstrap, sort_keys=False))
    return target


def callees_of(caller: str, policy: Policy) -> list[str]:
    """Return the keys of the services that this one may call."""
    return [call.callee for call in policy.calls if call.caller == caller]


def _inbound(sidecar: Sidecar, policy: Policy) -> dict[str, Any]:
    callers = policy.callers_of(sidecar.process.key)
    made: dict[str, Any] = piece(
        "inbound",
        address=json.dumps(listen(sidecar.inbound)),
        transport=json.dumps(sidecar.credentials.inbound(map(policy.spiffe, callers))),
        connection_seconds=f"{sidecar.connection_seconds:g}",
        failures=json.dumps(piece("failures", listener="inbound")),
        policies=json.dumps(
            {name: _allowed(policy.spiffe(name), paths) for name, paths in callers.items()}
        ),
    )
    return made


def _allowed(spiffe: str, methods: tuple[str, ...]) -> dict[str, Any]:
    return {
        "permissions": [{"url_path": {"path": _path(method)}} for method in methods],
        "principals": [{"authenticated": {"principal_name": {"exact": spiffe}}}],
    }


def _path(method: str) -> dict[str, str]:
    if method.endswith(f"/{ANY}"):
        return {"prefix": f"/{method.removesuffix(ANY)}"}
    return {"exact": f"/{method}"}


def _outbound(sidecar: Sidecar, policy: Policy, callees: list[str]) -> dict[str, Any]:
    hosts = [
        piece(
            "host",
            callee=callee,
            authority=process(callee).name,
            routes=json.dumps(list(_routes(sidecar.process.key, callee, policy))),
        )
        for callee in callees
    ]
    made: dict[str, Any] = piece(
        "outbound",
        address=json.dumps(listen(sidecar.outbound)),
        failures=json.dumps(piece("failures", listener="outbound")),
        hosts=json.dumps(hosts),
    )
    return made


def _routes(caller: str, callee: str, policy: Policy) -> Iterator[dict[str, Any]]:
    for listed in policy.callers_of(callee)[caller]:
        service, _, name = listed.partition("/")
        kinds = _kinds(service)
        for method in kinds if name == ANY else [name]:
            match = json.dumps({"path": f"/{service}/{method}"})
            yield piece(f"route-{kinds.get(method, 'stream')}", match=match, cluster=callee)


def _kinds(service: str) -> Mapping[str, str]:
    """Return read, write or stream by method."""
    try:
        return descriptor.kinds(service)
    except KeyError:
        return FOREIGN


def _peer(sidecar: Sidecar, policy: Policy, callee: str) -> dict[str, Any]:
    transport = sidecar.credentials.outbound(policy.spiffe(callee), process(callee).name)
    made: dict[str, Any] = piece("cluster-peer", callee=callee, transport=json.dumps(transport))
    return made | _discovery(callee, sidecar.peers[callee])


def _discovery(callee: str, peer: Peer) -> dict[str, Any]:
    if isinstance(peer, Dns):
        address = {"socket_address": {"address": peer.host, "port_value": peer.port}}
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        assignment = {"cluster_name": callee, "endpoints": endpoints}
        return {"type": "STRICT_DNS", "dns_lookup_family": "V4_PREFERRED",
                "load_assignment": assignment}  # fmt: skip
    files = {"path": str(peer / f"{callee}.json"), "watched_directory": {"path": str(peer)}}
    source = {"resource_api_version": "V3", "path_config_source": files}
    return {"type": "EDS", "eds_cluster_config": {"service_name": callee, "eds_config": source}}
