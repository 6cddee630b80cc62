"""Between the values of the cores and the contracts on the wire.

Unknown enum values, unreadable decimals and missing times are errors (`CodecError`), never
defaults. Decimals are written without exponent and without trailing zeros.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from quantum.analytics.v1 import policy_pb2
from quantum.exec_risk.v1 import trading_pb2
from quantum.market.v1 import market_pb2

from services.trade.candle import Candle
from services.trade.execution import Execution, ExecutionState, ExecutionStrategy
from services.trade.fund_policy import DirectiveAction, FundMode, Layer, SystemMode
from services.trade.order import (
    Fill,
    Order,
    OrderPurpose,
    OrderState,
    OrderType,
    Side,
    TimeInForce,
)
from services.trade.position import ExitReason, Position, PositionSide, SafetyLevel, TradingState

E = TypeVar("E", bound=StrEnum)

_PREFIXES: dict[type[StrEnum], tuple[Any, str]] = {
    Side: (trading_pb2.Side, "SIDE_"),
    OrderType: (trading_pb2.OrderType, "ORDER_TYPE_"),
    OrderPurpose: (trading_pb2.OrderPurpose, "ORDER_PURPOSE_"),
    OrderState: (trading_pb2.OrderState, "ORDER_STATE_"),
    PositionSide: (trading_pb2.PositionSide, "POSITION_SIDE_"),
    ExitReason: (trading_pb2.ExitReason, "EXIT_REASON_"),
    TradingState: (trading_pb2.TradingState, "TRADING_STATE_"),
    SafetyLevel: (trading_pb2.SafetyLevel, "SAFETY_LEVEL_"),
    TimeInForce: (trading_pb2.TimeInForce, "TIME_IN_FORCE_"),
    ExecutionStrategy: (trading_pb2.ExecutionStrategy, "EXECUTION_STRATEGY_"),
    ExecutionState: (trading_pb2.ExecutionState, "EXECUTION_STATE_"),
    SystemMode: (policy_pb2.SystemMode, "SYSTEM_MODE_"),
    FundMode: (policy_pb2.FundMode, "FUND_MODE_"),
    Layer: (policy_pb2.Layer, "LAYER_"),
    DirectiveAction: (policy_pb2.DirectiveAction, "DIRECTIVE_ACTION_"),
}


_CANDLE_NUMBERS = ("open", "high", "low", "close", "volume")
_AVERAGE_PLACES = Decimal("1e-10")


class CodecError(ValueError):
    """A message holds something that has no meaning here."""


def enum_to_pb(value: StrEnum) -> Any:
    """Return the contract's number of an enum value."""
    enum, prefix = _PREFIXES[type(value)]
    return enum.Value(prefix + value.value)


def enum_from_pb(kind: type[E], number: int) -> E:
    """Return the enum value of a contract's number; CodecError when unspecified or unknown."""
    value: E = _enum_value(kind, number)
    return value


@cache
def _enum_value(kind: type[StrEnum], number: int) -> Any:
    # A handful of values that every message holds; what is refused is not kept.
    enum, prefix = _PREFIXES[kind]
    try:
        return kind(enum.Name(number).removeprefix(prefix))
    except ValueError as error:
        raise CodecError(f"{kind.__name__} {number} is unknown") from error


def decimal_to_pb(value: Decimal | None) -> str:
    """Return plain decimal digits; '' for None."""
    if value is None:
        return ""
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def decimal_from_pb(text: str, field: str) -> Decimal:
    """Return the decimal; CodecError naming the field when it is none or not finite."""
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise CodecError(f"{field}: {text!r} is not a decimal") from error
    if not value.is_finite():
        raise CodecError(f"{field}: {text!r} is not finite")
    return value


def average_to_pb(value: Decimal | None) -> str:
    """Return an average price to ten decimal places: a quotient has no exact decimal form."""
    return decimal_to_pb(None if value is None else value.quantize(_AVERAGE_PLACES))


def optional_decimal(text: str, field: str) -> Decimal | None:
    """Return the decimal, or None for ''."""
    return decimal_from_pb(text, field) if text else None


def time_to_pb(time_ms: int) -> Timestamp:
    """Return a Timestamp of milliseconds, exact."""
    return Timestamp(seconds=time_ms // 1000, nanos=time_ms % 1000 * 1_000_000)


def time_from_pb(time: Timestamp) -> int:
    """Return milliseconds; CodecError for a time that is not set or lies below a millisecond."""
    seconds, nanos = time.seconds, time.nanos
    if seconds <= 0 or nanos % 1_000_000:
        raise CodecError(f"time {seconds}.{nanos:09d} is missing or not in milliseconds")
    return seconds * 1000 + nanos // 1_000_000


def candle_to_pb(candle: Candle) -> market_pb2.Candle:
    """Write a candle."""
    return market_pb2.Candle(
        venue=candle.venue,
        symbol=candle.symbol,
        timeframe=candle.timeframe,
        open_time=time_to_pb(candle.open_time),
        close_time=time_to_pb(candle.close_time),
        open=decimal_to_pb(candle.open),
        high=decimal_to_pb(candle.high),
        low=decimal_to_pb(candle.low),
        close=decimal_to_pb(candle.close),
        volume=decimal_to_pb(candle.volume),
    )


def candle_from_pb(message: market_pb2.Candle) -> Candle:
    """Read a candle; CodecError when it breaks a rule of candles."""
    texts = (message.open, message.high, message.low, message.close, message.volume)
    try:
        numbers = [Decimal(text) for text in texts]
    except InvalidOperation:
        numbers = []
    if not numbers or not all(map(Decimal.is_finite, numbers)):
        numbers = [decimal_from_pb(getattr(message, field), field) for field in _CANDLE_NUMBERS]
    opened, closes = time_from_pb(message.open_time), time_from_pb(message.close_time)
    try:
        candle = Candle(message.venue, message.symbol, message.timeframe, opened, *numbers)
        closed = candle.close_time
    except ValueError as error:
        raise CodecError(str(error)) from error
    if closed != closes:
        raise CodecError(f"{candle.key}: close time {closes} does not fit the timeframe")
    return candle


@dataclass(frozen=True, slots=True)
class CandlesRead:
    """What a message of candles holds."""

    candles: list[Candle]
    refused: list[str]
    """Why others in it are no candles; one that is none takes no other with it."""


def candles_to_bytes(candles: Iterable[Candle]) -> bytes:
    """Write a message of candles."""
    batch = market_pb2.CandleBatch(candles=map(candle_to_pb, candles))
    return batch.SerializeToString(deterministic=True)


def candles_from_bytes(data: bytes) -> CandlesRead:
    """Read a message of candles; CodecError when it is none or empty."""
    try:
        batch = market_pb2.CandleBatch.FromString(data)
    except DecodeError as error:
        raise CodecError(f"not a message of candles: {error}") from error
    if not batch.candles:
        raise CodecError("a message without candles")
    candles, refused = [], []
    for message in batch.candles:
        try:
            candles.append(candle_from_pb(message))
        except CodecError as error:
            refused.append(str(error))
    return CandlesRead(candles, refused)


def order_to_pb(order: Order) -> trading_pb2.Order:
    """Write an order."""
    message = trading_pb2.Order(
        client_order_id=order.client_order_id,
        account=order.account,
        symbol=order.symbol,
        side=enum_to_pb(order.side),
        type=enum_to_pb(order.type),
        purpose=enum_to_pb(order.purpose),
        state=enum_to_pb(order.state),
        reduce_only=order.reduce_only,
        quantity=decimal_to_pb(order.quantity),
        price=decimal_to_pb(order.price),
        trigger_price=decimal_to_pb(order.trigger_price),
        filled_quantity=decimal_to_pb(order.filled_quantity),
        average_price=average_to_pb(order.average_price),
        exchange_order_id=order.exchange_order_id,
        signal_id=order.signal_id,
        position_id=order.position_id,
        decided_time=time_to_pb(order.decided_time),
        updated_time=time_to_pb(order.updated_time or order.decided_time),
        reason=order.reason,
        version=order.version,
        execution_id=order.execution_id,
    )
    if order.time_in_force is not None:
        message.time_in_force = enum_to_pb(order.time_in_force)
    return message


def execution_to_pb(execution: Execution) -> trading_pb2.Execution:
    """Write an execution."""
    return trading_pb2.Execution(
        execution_id=execution.execution_id,
        account=execution.account,
        symbol=execution.symbol,
        side=enum_to_pb(execution.side),
        strategy=enum_to_pb(execution.strategy),
        state=enum_to_pb(execution.state),
        quantity=decimal_to_pb(execution.quantity),
        filled_quantity=decimal_to_pb(execution.filled_quantity),
        average_price=average_to_pb(execution.average_price),
        reference_price=decimal_to_pb(execution.reference_price),
        expected_impact=average_to_pb(execution.expected_impact),
        reduce_only=execution.reduce_only,
        orders=execution.orders,
        slices=execution.slices,
        started_time=time_to_pb(execution.started_time),
        deadline_time=time_to_pb(execution.deadline_time),
        updated_time=time_to_pb(execution.updated_time),
        signal_id=execution.signal_id,
        position_id=execution.position_id,
        reason=execution.reason,
        version=execution.version,
    )


def fill_to_pb(fill: Fill, *, position_id: str, purpose: OrderPurpose) -> trading_pb2.Fill:
    """Write a fill with what it belongs to."""
    return trading_pb2.Fill(
        trade_id=fill.trade_id,
        account=fill.account,
        symbol=fill.symbol,
        client_order_id=fill.client_order_id,
        position_id=position_id,
        side=enum_to_pb(fill.side),
        price=decimal_to_pb(fill.price),
        quantity=decimal_to_pb(fill.quantity),
        commission=decimal_to_pb(fill.commission),
        realized_pnl=decimal_to_pb(fill.realized_pnl),
        maker=fill.maker,
        time=time_to_pb(fill.time),
        purpose=enum_to_pb(purpose),
    )


def fill_from_pb(message: trading_pb2.Fill) -> Fill:
    """Read a fill."""
    return Fill(
        trade_id=message.trade_id,
        account=message.account,
        symbol=message.symbol,
        client_order_id=message.client_order_id,
        side=enum_from_pb(Side, message.side),
        price=decimal_from_pb(message.price, "price"),
        quantity=decimal_from_pb(message.quantity, "quantity"),
        commission=decimal_from_pb(message.commission, "commission"),
        realized_pnl=decimal_from_pb(message.realized_pnl, "realized_pnl"),
        maker=message.maker,
        time=time_from_pb(message.time),
    )


def position_to_pb(position: Position, mark: Decimal | None = None) -> trading_pb2.Position:
    """Write a position; with a mark price an open one also tells its unrealised profit."""
    shown = mark if position.open else None
    message = trading_pb2.Position(
        position_id=position.position_id,
        account=position.account,
        symbol=position.symbol,
        side=enum_to_pb(position.side),
        status="open" if position.open else "closed",
        quantity=decimal_to_pb(position.quantity),
        entry_price=average_to_pb(position.entry_price),
        exit_price=average_to_pb(position.exit_price),
        stop_loss_price=decimal_to_pb(position.stop_loss_price),
        take_profit_price=decimal_to_pb(position.take_profit_price),
        leverage=position.leverage,
        mark_price=decimal_to_pb(shown),
        unrealized_pnl=decimal_to_pb(None if shown is None else position.unrealized_pnl(shown)),
        realized_pnl=decimal_to_pb(position.realized_pnl),
        commission=decimal_to_pb(position.commission),
        funding=decimal_to_pb(position.funding),
        opened_time=time_to_pb(position.opened_time),
        signal_id=position.signal_id,
        trace_id=position.trace_id,
        entry_confidence=position.entry_confidence,
        entry_model=position.entry_model,
        version=position.version,
        in_sample=position.in_sample,
    )
    if position.closed_time is not None:
        message.closed_time.CopyFrom(time_to_pb(position.closed_time))
    if position.exit_reason is not None:
        message.exit_reason = enum_to_pb(position.exit_reason)
    return message
