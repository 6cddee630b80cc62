"""The one name table: how each process is called in every place that names it."""

from __future__ import annotations

from dataclasses import dataclass

VERSION = "3.1.0"


@dataclass(frozen=True, slots=True)
class Process:
    """The names of one process."""

    key: str
    """Folder under `services/` and key in `service_health`, for example `exec_risk`."""
    name: str
    """Process, compose and Prometheus job name, for example `exec-risk-service`."""
    metric_prefix: str
    """First part of its metric names, for example `exec_risk_service`."""
    grpc_service: str
    """Full name of its gRPC service, also its readiness name in `grpc.health.v1`."""
    health_key: str
    """Key of the process in analytics' `service_health`."""
    path: str = ""
    """First part of its REST paths under `/v1` on the main ingress."""
    health_port: int = 0
    """Port where the gateway serves its `/health` and `/ready`; 0 when it has none."""


AI = Process("ai", "ai-service", "ai_service", "quantum.ai.v1.AiService", "ai_service", "ai", 8001)
EXEC_RISK = Process(
    "exec_risk",
    "exec-risk-service",
    "exec_risk_service",
    "quantum.exec_risk.v1.ExecRiskService",
    "exec_risk_service",
    "exec-risk",
    8002,
)
ANALYTICS = Process(
    "analytics",
    "analytics-os-service",
    "analytics_os_service",
    "quantum.analytics.v1.AnalyticsService",
    "analytics_os_service",
    "analytics",
    8003,
)
VENUE = Process(
    "venue", "paper-venue", "paper_venue", "quantum.ops.v1.OperationsService", "paper_venue"
)
TRAINER = Process("trainer", "trainer", "trainer", "quantum.ops.v1.OperationsService", "trainer")

SERVICES = (AI, EXEC_RISK, ANALYTICS)
"""The services behind the gateway."""
PROCESSES = (*SERVICES, VENUE)
"""Every process of our own that a system always has."""
ON_DEMAND = (TRAINER,)
"""Those that run only where they are asked for."""


def process(key: str) -> Process:
    """Return the process with this key or name; KeyError names what exists."""
    for candidate in (*PROCESSES, *ON_DEMAND):
        if key in (candidate.key, candidate.name):
            return candidate
    known = ", ".join(p.key for p in (*PROCESSES, *ON_DEMAND))
    raise KeyError(f"no process {key!r}; there are {known}")
