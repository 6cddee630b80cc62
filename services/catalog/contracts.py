"""Every contract, loaded: reflection can only describe what the process has loaded."""

from __future__ import annotations

from quantum.ai.v1 import ai_service_pb2
from quantum.analytics.v1 import analytics_service_pb2
from quantum.exec_risk.v1 import exec_risk_service_pb2
from quantum.ops.v1 import operations_service_pb2

SERVICE_NAMES = tuple(
    service.full_name
    for module in (
        ai_service_pb2,
        exec_risk_service_pb2,
        analytics_service_pb2,
        operations_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
)
"""Full names of all services of the contracts."""
