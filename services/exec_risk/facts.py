"""Facts of the core as messages for the outbox."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from google.protobuf.message import Message
from quantum.exec_risk.v1 import events_pb2 as pb
from quantum.exec_risk.v1 import trading_pb2

from services.catalog import events, subjects
from services.catalog.processes import EXEC_RISK
from services.exec_risk.core import effects as fx
from services.kit.message import Outgoing
from services.trade import ids
from services.trade.codec import (
    average_to_pb,
    decimal_to_pb,
    enum_to_pb,
    execution_to_pb,
    fill_to_pb,
    order_to_pb,
    position_to_pb,
    time_to_pb,
)
from services.trade.order import OrderPurpose
from services.trade.position import Position, PositionSide

UNSPECIFIED: Any = 0
# message, key of the subject, market time, trace id, what makes the message id
Parts = tuple[Message, str, int, str, tuple[str | int, ...]]


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose facts they are."""

    account: str
    venue: str


def encode(fact: fx.Fact | fx.AccountSnapshot, account: str, venue: str) -> Outgoing:
    """Write a fact with a message id derived from what it names."""
    message, key, time, trace, named = _ENCODERS[type(fact)](fact, Scope(account, venue))
    event_type = events.TYPES[type(message)]
    message_id = ids.digest(event_type, account, *named)
    headers = {
        subjects.HEADER_TYPE: event_type,
        subjects.HEADER_SOURCE: EXEC_RISK.name,
        subjects.HEADER_TIME: str(time),
    }
    if trace:
        headers[subjects.HEADER_TRACE] = f"00-{trace}-{message_id[:16]}-01"
    return Outgoing(
        subjects.event(event_type, account, key), message.SerializeToString(), message_id, headers
    )


def shown(position: Position, mark: Decimal | None = None) -> trading_pb2.Position:
    """Write a position; the reason of an exit that is under way is not told yet."""
    told = replace(position, exit_reason=None) if position.open else position
    return position_to_pb(told, mark)


def _order(fact: fx.OrderChanged, _: Scope) -> Parts:
    order = fact.order
    message = pb.OrderChanged(
        order=order_to_pb(order),
        previous_state=enum_to_pb(fact.previous) if fact.previous else UNSPECIFIED,
        cause=fact.cause,
    )
    named = (order.client_order_id, order.version)
    return message, order.symbol, order.updated_time, fact.trace_id, named


def _fill(fact: fx.FillRecorded, _: Scope) -> Parts:
    fill = fact.fill
    purpose = fact.purpose or OrderPurpose.EXIT
    message = pb.FillRecorded(fill=fill_to_pb(fill, position_id=fact.position_id, purpose=purpose))
    return message, fill.symbol, fill.time, fact.trace_id, (fill.symbol, fill.trade_id)


def _funding(fact: fx.FundingPaid, scope: Scope) -> Parts:
    message = pb.FundingPaid(
        account=scope.account,
        symbol=fact.symbol,
        position_id=fact.position_id,
        amount=decimal_to_pb(fact.amount),
        time=time_to_pb(fact.time),
        transaction_id=fact.transaction_id,
    )
    return message, fact.symbol, fact.time, fact.trace_id, (fact.transaction_id,)


def _opened(fact: fx.PositionOpened, _: Scope) -> Parts:
    position = fact.position
    message = pb.PositionOpened(
        symbol=position.symbol,
        entry_price=average_to_pb(position.entry_price),
        size_usd=decimal_to_pb(position.entry_cost),
        leverage=position.leverage,
        is_long=position.side is PositionSide.LONG,
        stop_loss_price=decimal_to_pb(fact.stop_loss_price),
        take_profit_price=decimal_to_pb(fact.take_profit_price),
        trailing_stop_active=fact.trailing,
        position_id=position.position_id,
        entry_confidence=position.entry_confidence,
        entry_model=position.entry_model,
        entry_timestamp=time_to_pb(position.opened_time),
        position=shown(position),
    )
    named = (position.position_id, position.version)
    return message, position.symbol, position.opened_time, position.trace_id, named


def _changed(fact: fx.PositionChanged, _: Scope) -> Parts:
    position = fact.position
    named = (position.position_id, position.version)
    message = pb.PositionChanged(position=shown(position))
    return message, position.symbol, position.opened_time, position.trace_id, named


def _closed(fact: fx.PositionClosed, _: Scope) -> Parts:
    position = fact.position
    closed_time = position.closed_time or position.opened_time
    cost = position.entry_cost or Decimal(1)
    reason = position.exit_reason
    message = pb.PositionClosed(
        symbol=position.symbol,
        position_id=position.position_id,
        entry_price=average_to_pb(position.entry_price),
        exit_price=average_to_pb(position.exit_price),
        size_usd=decimal_to_pb(position.entry_cost),
        leverage=position.leverage,
        is_long=position.side is PositionSide.LONG,
        pnl_usd=decimal_to_pb(position.net_pnl),
        pnl_pct=decimal_to_pb(position.net_pnl / cost),
        duration_seconds=(closed_time - position.opened_time) / 1000,
        exit_reason=enum_to_pb(reason) if reason else UNSPECIFIED,
        entry_confidence=position.entry_confidence,
        entry_model=position.entry_model,
        entry_timestamp=time_to_pb(position.opened_time),
        exit_timestamp=time_to_pb(closed_time),
        position=shown(position),
    )
    named = (position.position_id, position.version)
    return message, position.symbol, closed_time, position.trace_id, named


def _result(fact: fx.ExecutionResult, _: Scope) -> Parts:
    order = fact.order
    message = pb.ExecutionResult(
        symbol=order.symbol,
        side=enum_to_pb(order.side),
        status=fact.status,
        rejection_reason=order.reason if fact.status in ("REJECTED", "FAILED") else "",
        filled_size_usd=decimal_to_pb(order.filled_cost),
        filled_price=average_to_pb(order.average_price),
        filled_quantity=decimal_to_pb(order.filled_quantity),
        leverage_applied=fact.leverage,
        slippage_pct=decimal_to_pb(fact.slippage),
        commission_usd=decimal_to_pb(fact.commission),
        exchange_order_id=order.exchange_order_id,
        internal_order_id=order.client_order_id,
        time=time_to_pb(order.updated_time),
    )
    named = (order.client_order_id, order.version)
    return message, order.symbol, order.updated_time, fact.trace_id, named


def _execution(fact: fx.ExecutionChanged, _: Scope) -> Parts:
    execution = fact.execution
    message = pb.ExecutionChanged(execution=execution_to_pb(execution), cause=fact.cause)
    named = (execution.execution_id, execution.version)
    return message, execution.symbol, execution.updated_time, fact.trace_id, named


def _risk(fact: fx.RiskDecided, scope: Scope) -> Parts:
    message = pb.RiskDecided(
        signal_id=fact.signal_id,
        account=scope.account,
        symbol=fact.symbol,
        approved=fact.approved,
        rule=fact.rule,
        reason=fact.reason,
        notional_usd=decimal_to_pb(fact.notional),
        quantity=decimal_to_pb(fact.quantity),
        leverage=fact.leverage,
        time=time_to_pb(fact.time),
    )
    return message, fact.symbol, fact.time, fact.trace_id, (fact.signal_id,)


def _round(fact: fx.RoundDecided, scope: Scope) -> Parts:
    message = pb.RoundDecided(
        account=scope.account,
        time=time_to_pb(fact.time),
        symbols=fact.symbols,
        missing=fact.missing,
        signal_ids=fact.signal_ids,
        equity=decimal_to_pb(fact.equity),
        wallet_balance=decimal_to_pb(fact.wallet_balance),
        open_positions=fact.open_positions,
        closes={symbol: decimal_to_pb(close) for symbol, close in fact.closes.items()},
        in_sample=fact.in_sample,
    )
    return message, "round", fact.time, "", (fact.time,)


def _account(fact: fx.AccountSnapshot, scope: Scope) -> Parts:
    message = pb.AccountSnapshot(
        account=trading_pb2.Account(
            account=scope.account,
            venue=scope.venue,
            wallet_balance=decimal_to_pb(fact.wallet_balance),
            unrealized_pnl=decimal_to_pb(fact.unrealized_pnl),
            equity=decimal_to_pb(fact.equity),
            available_balance=decimal_to_pb(fact.available_balance),
            gross_exposure=decimal_to_pb(fact.gross_exposure),
            daily_pnl=decimal_to_pb(fact.daily_pnl),
            daily_trades=fact.daily_trades,
            open_positions=fact.open_positions,
            time=time_to_pb(fact.time),
            trading_state=enum_to_pb(fact.trading_state),
            in_sample=fact.in_sample,
            emergency_latched=fact.latched,
            safety_level=enum_to_pb(fact.safety),
        )
    )
    named = (fact.time, str(fact.wallet_balance), str(fact.unrealized_pnl))
    return message, "account", fact.time, "", named


def _state(fact: fx.TradingStateChanged, scope: Scope) -> Parts:
    message = pb.TradingStateChanged(
        account=scope.account,
        previous_state=enum_to_pb(fact.previous),
        new_state=enum_to_pb(fact.state),
        reason=fact.reason,
        changed_by=fact.changed_by,
        time=time_to_pb(fact.time),
    )
    return message, "account", fact.time, "", (fact.time, fact.state, fact.request_id)


def _safety(fact: fx.SafetyLevelChanged, scope: Scope) -> Parts:
    message = pb.SafetyLevelChanged(
        account=scope.account,
        previous_level=enum_to_pb(fact.previous),
        new_level=enum_to_pb(fact.level),
        reason=fact.reason,
        time=time_to_pb(fact.time),
    )
    return message, "account", fact.time, "", (fact.time, fact.previous, fact.level)


def _stopped(fact: fx.EmergencyStopped, scope: Scope) -> Parts:
    latch = fact.latch
    message = pb.EmergencyStopped(
        account=scope.account,
        trigger_reason=latch.reason,
        triggered_by=latch.by,
        severity=fact.severity,
        open_positions=fact.open_positions,
        drawdown=decimal_to_pb(fact.drawdown),
        time=time_to_pb(latch.time),
    )
    return message, "account", latch.time, "", (latch.time, latch.request_id)


def _reset(fact: fx.EmergencyReset, scope: Scope) -> Parts:
    message = pb.EmergencyReset(
        account=scope.account,
        reason=fact.reason,
        reset_by=fact.by,
        time=time_to_pb(fact.time),
    )
    return message, "account", fact.time, "", (fact.time, fact.request_id)


def _repaired(fact: fx.ReconcileRepaired, scope: Scope) -> Parts:
    message = pb.ReconcileRepaired(
        account=scope.account,
        symbol=fact.symbol,
        kind=fact.kind,
        detail=fact.detail,
        time=time_to_pb(fact.time),
    )
    return message, fact.symbol or "account", fact.time, "", (fact.kind, fact.evidence)


def _alert(fact: fx.Alert, _: Scope) -> Parts:
    message = pb.RiskAlert(
        severity=fact.severity,
        alert_type=fact.alert_type,
        message=fact.message,
        action_taken=fact.action_taken,
        affected_symbols=[fact.symbol] if fact.symbol else [],
        open_positions_count=fact.open_positions,
        total_exposure_usd=decimal_to_pb(fact.exposure),
        time=time_to_pb(fact.time),
    )
    named = (fact.alert_type, fact.symbol, fact.time, fact.message)
    return message, fact.symbol or "account", fact.time, "", named


_ENCODERS: dict[type, Callable[[Any, Scope], Parts]] = {
    fx.OrderChanged: _order,
    fx.FillRecorded: _fill,
    fx.FundingPaid: _funding,
    fx.PositionOpened: _opened,
    fx.PositionChanged: _changed,
    fx.PositionClosed: _closed,
    fx.ExecutionResult: _result,
    fx.ExecutionChanged: _execution,
    fx.RiskDecided: _risk,
    fx.RoundDecided: _round,
    fx.AccountSnapshot: _account,
    fx.TradingStateChanged: _state,
    fx.SafetyLevelChanged: _safety,
    fx.EmergencyStopped: _stopped,
    fx.EmergencyReset: _reset,
    fx.ReconcileRepaired: _repaired,
    fx.Alert: _alert,
}
