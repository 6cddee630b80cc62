"""Renders who may open connections to whom in a cluster, from `mesh/policy.yaml`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.catalog import ports
from services.catalog.processes import EXEC_RISK
from services.ctl.policy import GATEWAY, Policy
from services.ctl.render.cluster_names import (
    APP,
    ISTIO,
    MONITORING,
    NATS,
    OPERATOR,
    POSTGRES,
    POSTGRES_LABEL,
    SETUP,
    called,
    workload,
)

Rule = dict[str, Any]
ISTIOD, DNS, HTTPS, KUBERNETES, POSTGRES_STATUS = 15012, 53, 443, 6443, 8000
PRIVATE = ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]
"""What no exchange is reached at: a key that leaks cannot be used to look around inside."""


def render(policy: Policy) -> list[Rule]:
    """Return all policies: first that nothing is allowed, then what is."""
    return [
        _policy("nothing-else", {}, ingress=[], egress=[]),
        _policy(
            "names-and-certificates",
            {},
            egress=[
                _rule("to", [_in_namespace("kube-system")], DNS, udp=True),
                _rule("to", [_in_namespace(ISTIO)], ISTIOD),
            ],
        ),
        *(_process(policy, identity) for identity in (*called(), GATEWAY)),
        _setup(),
        _nats(policy),
        _postgres(policy),
    ]


def _process(policy: Policy, identity: str) -> Rule:
    callers = [workload(caller) for caller in policy.callers_of(identity)]
    callees = [workload(call.callee) for call in policy.calls if call.caller == identity]
    ingress = [_rule("from", _pods(callers), ports.GRPC)] if callers else []
    if identity == GATEWAY:
        ingress.append({"ports": [_port(ports.INGRESS_TLS)]})
    else:
        ingress.append(_rule("from", [_in_namespace(MONITORING)], ports.METRICS))
    egress = [_rule("to", [_in_namespace(MONITORING)], ports.OTLP)]
    if callees:
        egress.append(_rule("to", _pods(callees), ports.GRPC))
    if identity in policy.bus:
        egress.append(_rule("to", _pods([NATS]), ports.NATS))
    if identity in policy.database.owners:
        egress.append(_rule("to", [_database()], ports.POSTGRES))
    if identity == EXEC_RISK.key:
        exchange = {"ipBlock": {"cidr": "0.0.0.0/0", "except": PRIVATE}}
        egress.append(_rule("to", [exchange], HTTPS))
    name = workload(identity)
    return _policy(name, {APP: name}, ingress=ingress, egress=egress)


def _setup() -> Rule:
    return _policy(SETUP, {APP: SETUP}, egress=[_rule("to", _pods([NATS]), ports.NATS)])


def _nats(policy: Policy) -> Rule:
    clients = _pods([*(workload(user) for user in policy.bus), SETUP])
    return _policy(
        NATS,
        {APP: NATS},
        ingress=[
            _rule("from", clients, ports.NATS),
            _rule("from", _pods([NATS]), ports.NATS_ROUTES),
        ],
        egress=[_rule("to", _pods([NATS]), ports.NATS_ROUTES)],
    )


def _postgres(policy: Policy) -> Rule:
    owners = _pods([workload(owner) for owner in policy.database.owners])
    operator = [_in_namespace(OPERATOR), _database()]
    return _policy(
        POSTGRES,
        {POSTGRES_LABEL: POSTGRES},
        ingress=[
            _rule("from", [*owners, *operator], ports.POSTGRES),
            _rule("from", operator, POSTGRES_STATUS),
        ],
        egress=[
            _rule("to", [_database()], ports.POSTGRES),
            _rule("to", [_database()], POSTGRES_STATUS),
            # the instance manager keeps its state in the cluster's own API
            {"ports": [_port(HTTPS), _port(KUBERNETES)]},
        ],
    )


def _policy(
    name: str,
    labels: dict[str, str],
    *,
    ingress: list[Rule] | None = None,
    egress: list[Rule] | None = None,
) -> Rule:
    spec: Rule = {"podSelector": {"matchLabels": labels} if labels else {}, "policyTypes": []}
    for title, rules in (("Ingress", ingress), ("Egress", egress)):
        if rules is not None:
            spec["policyTypes"].append(title)
            spec |= {title.lower(): rules} if rules else {}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


def _rule(direction: str, peers: list[Rule], port: int, *, udp: bool = False) -> Rule:
    listed = [_port(port, "UDP"), _port(port)] if udp else [_port(port)]
    return {direction: peers, "ports": listed}


def _port(port: int, protocol: str = "TCP") -> Rule:
    return {"port": port, "protocol": protocol}


def _pods(names: Iterable[str]) -> list[Rule]:
    return [{"podSelector": {"matchLabels": {APP: name}}} for name in names]


def _database() -> Rule:
    return {"podSelector": {"matchLabels": {POSTGRES_LABEL: POSTGRES}}}


def _in_namespace(name: str) -> Rule:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
