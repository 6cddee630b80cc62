"""Facts about orders, fills, positions and executions as messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from quantum.exec_risk.v1 import events_pb2 as pb
from quantum.exec_risk.v1 import trading_pb2

from services.exec_risk.core import effects as fx
from services.exec_risk.messages.parts import UNSPECIFIED, Parts, Scope
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


ENCODERS: dict[type, Callable[[Any, Scope], Parts]] = {
    fx.OrderChanged: _order,
    fx.FillRecorded: _fill,
    fx.FundingPaid: _funding,
    fx.PositionOpened: _opened,
    fx.PositionChanged: _changed,
    fx.PositionClosed: _closed,
    fx.ExecutionResult: _result,
    fx.ExecutionChanged: _execution,
}
"""How each fact is written, by its type."""
