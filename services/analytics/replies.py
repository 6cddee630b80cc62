"""Values of the core as messages of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from quantum.analytics.v1 import analytics_service_pb2 as pb

from services.analytics.alerts.store import OWN
from services.analytics.core.alerting.kinds import runbook_of
from services.analytics.core.alerts import Alert
from services.analytics.core.health import ReplicaHealth, SystemView
from services.analytics.core.performance import Result
from services.analytics.core.portfolio import Portfolio, ValuedPosition
from services.analytics.core.trades import Trade
from services.analytics.views import RecordedEvent
from services.trade.codec import average_to_pb, decimal_to_pb, time_to_pb


def moment(time: datetime) -> Timestamp:
    """Write a wall time."""
    message = Timestamp()
    message.FromDatetime(time)
    return message


def alerts(current: Sequence[Alert], stored: Sequence[Any]) -> list[pb.Alert]:
    """Write the alerts that hold: what is seen here, and what others told and is stored."""
    rows = {(row["alert_type"], row["component"]): row for row in stored}
    seen = {value.key for value in current}
    told = [_alert_of(row) for key, row in rows.items() if row["source"] != OWN and key not in seen]
    return [_alert(value, rows.get(value.key)) for value in current] + told


def _alert(value: Alert, row: Any) -> pb.Alert:
    written = _plain_alert(value)
    if row is not None and row["source"] == OWN:
        written.alert_id, written.acknowledged = row["alert_id"], row["acknowledged"]
    return written


def _alert_of(row: Any) -> pb.Alert:
    return pb.Alert(
        type=row["alert_type"],
        severity=row["severity"],
        message=row["message"],
        component=row["component"],
        since=moment(row["created_at"]),
        alert_id=row["alert_id"],
        acknowledged=row["acknowledged"],
        runbook=row["runbook"],
    )


def _plain_alert(value: Alert) -> pb.Alert:
    return pb.Alert(
        type=value.type,
        severity=value.severity.value,
        message=value.message,
        component=value.component,
        since=moment(datetime.fromtimestamp(value.since, UTC)),
        runbook=runbook_of(value.type),
    )


def system_health(view: SystemView, now: Timestamp) -> pb.GetSystemHealthResponse:
    """Write the health of every replica and part."""
    replicas = [r for service in view.services for r in service.replicas]
    return pb.GetSystemHealthResponse(
        overall_status=view.overall.text,
        services=[_replica(r) for r in (*replicas, *view.parts)],
        degraded_services=view.unhealthy,
        timestamp=now,
    )


def _replica(replica: ReplicaHealth) -> pb.ServiceHealth:
    return pb.ServiceHealth(
        name=replica.name,
        instance=replica.instance,
        status=replica.status.text,
        reason=replica.reason,
        last_heartbeat_seconds_ago=replica.silent_for,
        cpu_percent=replica.cpu_percent,
        memory_percent=replica.memory_percent,
    )


def portfolio(value: Portfolio) -> pb.GetPortfolioResponse:
    """Write the portfolio."""
    return pb.GetPortfolioResponse(
        total_value_usd=decimal_to_pb(value.total_value),
        wallet_balance=decimal_to_pb(value.wallet_balance),
        unrealized_pnl=decimal_to_pb(value.unrealized_pnl),
        positions=[_position(p) for p in value.positions],
        time=time_to_pb(value.time),
        in_sample=value.in_sample,
    )


def _position(valued: ValuedPosition) -> pb.PortfolioPosition:
    position = valued.position
    return pb.PortfolioPosition(
        symbol=position.symbol,
        side=position.side.value,
        quantity=decimal_to_pb(position.quantity),
        entry_price=average_to_pb(position.entry_price),
        mark_price=decimal_to_pb(valued.mark),
        unrealized_pnl=decimal_to_pb(valued.unrealized_pnl),
    )


def performance(result: Result) -> pb.Performance:
    """Write the result of a span."""
    return pb.Performance(
        day=result.day,
        gross_pnl=decimal_to_pb(result.gross),
        commission=decimal_to_pb(result.commission),
        funding=decimal_to_pb(result.funding),
        net_pnl=decimal_to_pb(result.net),
        trades=result.trades,
        wins=result.wins,
        win_rate=result.win_rate,
        in_sample=result.in_sample,
    )


def trade(value: Trade) -> pb.Trade:
    """Write a closed trade."""
    position = value.position
    return pb.Trade(
        position_id=position.position_id,
        account=position.account,
        symbol=position.symbol,
        side=position.side.value,
        quantity=decimal_to_pb(position.entry_quantity),
        entry_price=average_to_pb(position.entry_price),
        exit_price=average_to_pb(position.exit_price),
        gross_pnl=decimal_to_pb(position.realized_pnl),
        commission=decimal_to_pb(position.commission),
        funding=decimal_to_pb(position.funding),
        net_pnl=decimal_to_pb(position.net_pnl),
        opened_time=time_to_pb(position.opened_time),
        closed_time=None if position.closed_time is None else time_to_pb(position.closed_time),
        exit_reason=position.exit_reason.value if position.exit_reason else "",
        signal_id=position.signal_id,
        trace_id=position.trace_id,
        model_version=position.entry_model,
        in_sample=position.in_sample,
    )


def event(recorded: RecordedEvent) -> pb.LedgerEvent:
    """Write a recorded event."""
    data = Struct()
    data.update(recorded.data)
    return pb.LedgerEvent(
        event_id=recorded.event_id,
        type=recorded.type,
        timestamp=moment(recorded.time),
        source=recorded.source,
        trace_id=recorded.trace_id,
        key=recorded.key,
        data=data,
    )
