"""Alerts as rows and as facts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from quantum.analytics.v1 import alerts_pb2 as pb

from services.analytics.core.alerting.book import OpenAlert
from services.analytics.core.alerting.kinds import Severity
from services.analytics.core.alerting.message import State
from services.analytics.core.alerts import Alert
from services.analytics.health.facts import SYSTEM
from services.catalog import subjects
from services.catalog.events import SYSTEM_ALERT
from services.catalog.processes import ANALYTICS
from services.kit.bus.message import Outgoing
from services.kit.observe.trace_context import traceparent
from services.trade.ids import digest


def moment(seconds: float) -> datetime:
    """Return wall seconds as a time."""
    return datetime.fromtimestamp(seconds, UTC)


def details(alert: Alert) -> str:
    """Return what is known besides the text, as JSON."""
    found: dict[str, Any] = {}
    if alert.metric:
        found = {"metric": alert.metric, "value": alert.value, "limit": alert.limit}
    if alert.action:
        found |= {"action": alert.action, "acted": alert.acted}
    return json.dumps(found)


def open_from_row(row: Any) -> OpenAlert:
    """Return a stored alert as the book holds it."""
    known = json.loads(row["details"])
    alert = Alert(
        type=row["alert_type"],
        severity=Severity(row["severity"]),
        message=row["message"],
        component=row["component"],
        since=row["created_at"].timestamp(),
        metric=known.get("metric", ""),
        value=known.get("value"),
        limit=known.get("limit"),
        action=known.get("action", ""),
        acted=known.get("acted", False),
    )
    return OpenAlert(row["alert_id"], alert, told=True)


def fact(entry: OpenAlert, state: State, now: float) -> Outgoing:
    """Return the fact that an alert was raised or its cause is gone."""
    alert, time = entry.alert, int(now * 1000)
    message = pb.SystemAlert(
        alert_type=alert.type,
        severity=alert.severity.fact,
        message=alert.message,
        component=alert.component,
        metric_name=alert.metric,
        metric_value=alert.value,
        threshold_value=alert.limit,
        recovery_action=alert.action,
        auto_recovery_attempted=alert.acted,
        alert_id=entry.alert_id,
        resolved=state is State.RESOLVED,
    )
    message.time.FromMilliseconds(time)
    message_id = digest(SYSTEM_ALERT, entry.alert_id, state.value)
    return Outgoing(
        subjects.event(SYSTEM_ALERT, SYSTEM, alert.type),
        message.SerializeToString(),
        message_id,
        {
            subjects.HEADER_TYPE: SYSTEM_ALERT,
            subjects.HEADER_SOURCE: ANALYTICS.name,
            subjects.HEADER_TIME: str(time),
            subjects.HEADER_TRACE: traceparent(message_id),
        },
    )
