"""The `health.status` fact."""

from __future__ import annotations

from datetime import datetime

from quantum.analytics.v1 import events_pb2 as pb

from services.analytics.core.health import Status
from services.catalog import subjects
from services.catalog.events import HEALTH_STATUS
from services.catalog.processes import ANALYTICS
from services.kit.bus.message import Outgoing
from services.kit.observe.trace_context import traceparent
from services.trade.codec import time_to_pb
from services.trade.ids import digest
from services.trade.times import from_datetime

SYSTEM = "system"
"""Account token of facts that belong to no trading account."""


def status_changed(
    name: str, before: Status | None, now_is: Status, reason: str, now: datetime
) -> Outgoing:
    """Return the fact that a service or part went from one health to another."""
    time = from_datetime(now)
    text = f"down: {reason}" if now_is is Status.DOWN else reason
    message = pb.HealthStatus(
        service_name=name,
        status=now_is.fact,
        previous_status=before.fact if before is not None else "UNKNOWN",
        degradation_reason=text,
        time=time_to_pb(time),
    )
    message_id = digest(HEALTH_STATUS, name, now_is.name, time)
    return Outgoing(
        subjects.event(HEALTH_STATUS, SYSTEM, name),
        message.SerializeToString(),
        message_id,
        {
            subjects.HEADER_TYPE: HEALTH_STATUS,
            subjects.HEADER_SOURCE: ANALYTICS.name,
            subjects.HEADER_TIME: str(time),
            subjects.HEADER_TRACE: traceparent(message_id),
        },
    )
