"""ListAlerts and AcknowledgeAlert over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quantum.analytics.v1 import alerts_pb2 as pb

from services.analytics.alerts.store import AlertStore
from services.analytics.core.alerting.kinds import RESPONSE_MINUTES, Severity, level_of
from services.analytics.views import BadToken, Cursor, read_token
from services.kit.errors import InvalidArgument, NotFound, Unavailable
from services.kit.postgres.db import TRANSIENT
from services.kit.process import Process

_DEFAULT_PAGE = 50


class AlertRpcs:
    """The part of the servicer that shows alerts and takes them."""

    _process: Process
    _alerts: AlertStore

    async def ListAlerts(self, request: pb.ListAlertsRequest, context: Any) -> Any:
        """Return alerts, the newest first."""
        asked = ("alerts", str(request.include_resolved), request.severity, request.alert_id)
        rows, deliveries, more = await self._page(
            resolved=request.include_resolved,
            severity=request.severity,
            begins=request.alert_id,
            cursor=_cursor(request.page_token, asked),
            limit=request.page_size or _DEFAULT_PAGE,
        )
        return pb.ListAlertsResponse(
            alerts=[stored(row, deliveries.get(row["alert_id"], ())) for row in rows],
            next_page_token=more.token(asked) if more else "",
        )

    async def AcknowledgeAlert(self, request: pb.AcknowledgeAlertRequest, context: Any) -> Any:
        """Say who looks after an alert; the first stays, and a repeated call changes nothing."""
        now = self._process.clock.now().timestamp()
        try:
            found = await self._alerts.acknowledge(request.alert_id, request.by, request.note, now)
        except TRANSIENT as error:
            raise _away(error) from error
        if not found:
            raise NotFound(f"there is no alert {request.alert_id}")
        rows, deliveries, _ = await self._page(
            resolved=True, severity="", begins=request.alert_id, cursor=Cursor(), limit=1
        )
        alert = stored(rows[0], deliveries.get(request.alert_id, ()))
        return pb.AcknowledgeAlertResponse(alert=alert)

    async def _page(self, **asked: Any) -> Any:
        try:
            return await self._alerts.page(**asked)
        except TRANSIENT as error:
            raise _away(error) from error


def _away(error: BaseException) -> Unavailable:
    return Unavailable("postgres does not answer", metadata={"postgres": type(error).__name__})


def _cursor(token: str, question: Sequence[str]) -> Cursor:
    try:
        return read_token(token, question)
    except BadToken as error:
        raise InvalidArgument.of("page_token", str(error)) from error


def stored(row: Any, deliveries: Sequence[Any]) -> pb.StoredAlert:
    """Write a stored alert."""
    level = level_of(row["alert_type"], Severity(row["severity"]))
    message = pb.StoredAlert(
        alert_id=row["alert_id"],
        alert_type=row["alert_type"],
        severity=row["severity"],
        level=f"SEV-{level}",
        response_minutes=RESPONSE_MINUTES[level],
        component=row["component"],
        message=row["message"],
        runbook=row["runbook"],
        source=row["source"],
        acknowledged=row["acknowledged"],
        acknowledged_by=row["acknowledged_by"],
        note=row["note"],
        resolved=row["resolved"],
        deliveries=[_delivery(d) for d in deliveries],
    )
    message.raised_time.FromDatetime(row["created_at"])
    if row["acknowledged_at"] is not None:
        message.acknowledged_time.FromDatetime(row["acknowledged_at"])
    if row["resolved_at"] is not None:
        message.resolved_time.FromDatetime(row["resolved_at"])
    return message


def _delivery(row: Any) -> pb.AlertDelivery:
    message = pb.AlertDelivery(
        channel=row["channel"],
        state=row["state"],
        status=row["status"],
        attempts=row["attempts"],
        error=row["error"],
    )
    if row["tried_at"] is not None:
        message.time.FromDatetime(row["tried_at"])
    return message
