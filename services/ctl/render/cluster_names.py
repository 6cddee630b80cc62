"""How things are called in a cluster."""

from __future__ import annotations

from services.catalog.processes import SERVICES, process
from services.ctl.policy import GATEWAY

NAMESPACE = "quantum-trader"
APP = "app.kubernetes.io/name"
"""Label by which the pods of a workload are found."""
PART_OF = {"app.kubernetes.io/part-of": "quantum-trader"}
NATS = "quantum-trader-nats"
POSTGRES = "quantum-trader-postgres"
POSTGRES_LABEL = "cnpg.io/cluster"
SETUP = "setup"
MONITORING = "monitoring"
"""Namespace of Prometheus and of the collector of traces."""
OPERATOR = "cnpg-system"
"""Namespace of the PostgreSQL operator."""
ISTIO = "istio-system"
GENERATED = "Rendered by `make gen`: change mesh/policy.yaml or services/ctl/render/ instead."


def workload(identity: str) -> str:
    """Return the name of Deployment, Service and service account of an identity of the table."""
    return GATEWAY if identity == GATEWAY else process(identity).name


def principal(identity: str) -> str:
    """Return the identity as Istio's certificates carry it.

    Istio takes `cluster.local` for whatever its own trust domain is called.
    """
    return f"cluster.local/ns/{NAMESPACE}/sa/{workload(identity)}"


def host(name: str) -> str:
    """Return the full DNS name of a service of this namespace."""
    return f"{name}.{NAMESPACE}.svc.cluster.local"


def called() -> tuple[str, ...]:
    """Return the keys of what is called through the mesh."""
    return tuple(service.key for service in SERVICES)
