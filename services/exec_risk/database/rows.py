"""Between values of the core and rows of the schema."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.exec_risk.core.effects import EntryPlan
from services.exec_risk.core.facts import FillRecorded
from services.exec_risk.core.protection.trailing import Progress, Stage
from services.trade.order import (
    Order,
    OrderPurpose,
    OrderState,
    OrderType,
    Side,
    TimeInForce,
)
from services.trade.position import ExitReason, Position, PositionSide
from services.trade.times import from_datetime, to_datetime

Row = Mapping[str, Any]

ORDER_COLUMNS = (
    "client_order_id, account, symbol, side, type, purpose, state, quantity, price, trigger_price,"
    " filled_quantity, filled_cost, exchange_order_id, signal_id, position_id, reason, decided_at,"
    " updated_at, version, time_in_force, execution_id"
)
POSITION_COLUMNS = (
    "position_id, account, symbol, side, status, quantity, entry_price, exit_price,"
    " entry_quantity, entry_cost, exit_quantity, exit_cost, commission, funding, pnl_usd,"
    " stop_loss_price, take_profit_price, leverage, signal_id, trace_id, entry_confidence,"
    " entry_model, in_sample, exit_reason, opened_at, closed_at, version"
)
PLAN_COLUMNS = (
    "position_id, account, symbol, side, leverage, stop_fraction, take_fraction, price,"
    " decided_at, expires_at, signal_id, confidence, model_version, in_sample, trace_id,"
    " atr_fraction"
)
PROGRESS_COLUMNS = "position_id, account, stage, best_price, stop_price, taken, hold_until, version"
FILL_COLUMNS = (
    "account, symbol, trade_id, client_order_id, position_id, purpose, side, price, quantity,"
    " commission, realized_pnl, maker, exchange_order_id, filled_at"
)


def order_values(order: Order) -> tuple[Any, ...]:
    """Return the values of ORDER_COLUMNS."""
    return (
        order.client_order_id,
        order.account,
        order.symbol,
        order.side.value,
        order.type.value,
        order.purpose.value,
        order.state.value,
        order.quantity,
        order.price,
        order.trigger_price,
        order.filled_quantity,
        order.filled_cost,
        order.exchange_order_id,
        order.signal_id,
        order.position_id,
        order.reason,
        to_datetime(order.decided_time),
        to_datetime(order.updated_time),
        order.version,
        order.time_in_force.value if order.time_in_force else None,
        order.execution_id,
    )


def order_of(row: Row) -> Order:
    """Read an order."""
    return Order(
        client_order_id=row["client_order_id"],
        account=row["account"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        type=OrderType(row["type"]),
        purpose=OrderPurpose(row["purpose"]),
        state=OrderState(row["state"]),
        quantity=row["quantity"],
        price=row["price"],
        trigger_price=row["trigger_price"],
        filled_quantity=row["filled_quantity"],
        filled_cost=row["filled_cost"],
        exchange_order_id=row["exchange_order_id"],
        signal_id=row["signal_id"],
        position_id=row["position_id"],
        reason=row["reason"],
        decided_time=from_datetime(row["decided_at"]),
        updated_time=from_datetime(row["updated_at"]),
        version=row["version"],
        time_in_force=TimeInForce(row["time_in_force"]) if row["time_in_force"] else None,
        execution_id=row["execution_id"],
    )


def position_values(position: Position) -> tuple[Any, ...]:
    """Return the values of POSITION_COLUMNS."""
    closed = position.closed_time
    return (
        position.position_id,
        position.account,
        position.symbol,
        position.side.value,
        "open" if position.open else "closed",
        position.quantity,
        position.entry_price,
        position.exit_price,
        position.entry_quantity,
        position.entry_cost,
        position.exit_quantity,
        position.exit_cost,
        position.commission,
        position.funding,
        position.net_pnl,
        position.stop_loss_price,
        position.take_profit_price,
        position.leverage,
        position.signal_id,
        position.trace_id,
        position.entry_confidence,
        position.entry_model,
        position.in_sample,
        position.exit_reason.value if position.exit_reason else None,
        to_datetime(position.opened_time),
        None if closed is None else to_datetime(closed),
        position.version,
    )


def position_of(row: Row) -> Position:
    """Read a position."""
    return Position(
        position_id=row["position_id"],
        account=row["account"],
        symbol=row["symbol"],
        side=PositionSide(row["side"]),
        opened_time=from_datetime(row["opened_at"]),
        leverage=row["leverage"],
        signal_id=row["signal_id"],
        trace_id=row["trace_id"],
        entry_confidence=row["entry_confidence"],
        entry_model=row["entry_model"],
        in_sample=row["in_sample"],
        entry_quantity=row["entry_quantity"],
        entry_cost=row["entry_cost"],
        exit_quantity=row["exit_quantity"],
        exit_cost=row["exit_cost"],
        commission=row["commission"],
        funding=row["funding"],
        stop_loss_price=row["stop_loss_price"],
        take_profit_price=row["take_profit_price"],
        closed_time=optional_time(row["closed_at"]),
        exit_reason=ExitReason(row["exit_reason"]) if row["exit_reason"] else None,
        version=row["version"],
    )


def plan_values(plan: EntryPlan, account: str) -> tuple[Any, ...]:
    """Return the values of PLAN_COLUMNS."""
    return (
        plan.position_id,
        account,
        plan.symbol,
        plan.side.value,
        plan.leverage,
        plan.stop_fraction,
        plan.take_fraction,
        plan.price,
        to_datetime(plan.decided_time),
        to_datetime(plan.expires_at) if plan.expires_at else None,
        plan.signal_id,
        plan.confidence,
        plan.model_version,
        plan.in_sample,
        plan.trace_id,
        plan.atr_fraction,
    )


def plan_of(row: Row) -> EntryPlan:
    """Read a plan."""
    return EntryPlan(
        position_id=row["position_id"],
        symbol=row["symbol"],
        side=PositionSide(row["side"]),
        leverage=row["leverage"],
        stop_fraction=row["stop_fraction"],
        take_fraction=row["take_fraction"],
        price=row["price"],
        decided_time=from_datetime(row["decided_at"]),
        atr_fraction=row["atr_fraction"],
        expires_at=optional_time(row["expires_at"]) or 0,
        signal_id=row["signal_id"],
        confidence=row["confidence"],
        model_version=row["model_version"],
        in_sample=row["in_sample"],
        trace_id=row["trace_id"],
    )


def progress_values(progress: Progress, account: str) -> tuple[Any, ...]:
    """Return the values of PROGRESS_COLUMNS."""
    return (
        progress.position_id,
        account,
        progress.stage.value,
        progress.best_price,
        progress.stop_price,
        progress.taken,
        to_datetime(progress.hold_until) if progress.hold_until else None,
        progress.version,
    )


def progress_of(row: Row) -> Progress:
    """Read how far a position's protection has come."""
    return Progress(
        position_id=row["position_id"],
        stage=Stage(row["stage"]),
        best_price=row["best_price"],
        stop_price=row["stop_price"],
        taken=row["taken"],
        hold_until=optional_time(row["hold_until"]) or 0,
        version=row["version"],
    )


def fill_values(fact: FillRecorded) -> tuple[Any, ...]:
    """Return the values of FILL_COLUMNS."""
    fill = fact.fill
    return (
        fill.account,
        fill.symbol,
        fill.trade_id,
        fill.client_order_id,
        fact.position_id,
        (fact.purpose or OrderPurpose.EXIT).value,
        fill.side.value,
        fill.price,
        fill.quantity,
        fill.commission,
        fill.realized_pnl,
        fill.maker,
        fill.exchange_order_id,
        to_datetime(fill.time),
    )


def optional_time(moment: datetime | None) -> int | None:
    """Return milliseconds, or None for None."""
    return None if moment is None else from_datetime(moment)
