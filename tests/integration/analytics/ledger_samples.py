"""Messages of every event type, and short ways to make those that trades are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from google.protobuf.message import Message as Protobuf
from google.protobuf.timestamp_pb2 import Timestamp
from quantum.ai.v1 import signal_pb2 as ai
from quantum.exec_risk.v1 import events_pb2 as facts
from quantum.exec_risk.v1 import trading_pb2 as trading

from services.catalog import subjects
from services.catalog.events import TYPES
from services.kit.bus.message import Message, Outgoing
from services.kit.observe.trace_context import traceparent
from services.trade.codec import time_to_pb
from services.trade.ids import digest

MAY = 1_746_057_600_000
"""2025-05-01 00:00 UTC."""
MINUTE = 60_000
TRACE = digest("trace", "sample")


def filled(kind: type[Protobuf]) -> Protobuf:
    """A message whose every field is set."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        value = _value(field, kind)
        if field.message_type and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)["1"] = value
        elif field.is_repeated:
            target = getattr(message, field.name)
            target.append(value)
        elif field.message_type:
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)
    return message


def _value(field: Any, kind: type[Protobuf]) -> Any:
    if field.message_type:
        if field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name["value"]
            return _value(entry, kind)
        if field.message_type.full_name == Timestamp.DESCRIPTOR.full_name:
            return time_to_pb(MAY)
        return filled(field.message_type._concrete_class)
    if field.enum_type or field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64):
        return 1
    if field.cpp_type == field.CPPTYPE_BOOL:
        return True
    if field.cpp_type == field.CPPTYPE_STRING:
        return "1"
    return 0.5


def outgoing(
    message: Protobuf,
    *,
    time: int = MAY,
    account: str = "main",
    key: str = "BTCUSDT",
    name: str = "",
) -> Outgoing:
    """A fact as exec_risk's outbox publishes it; its id is made of its bytes unless named."""
    event_type = TYPES[type(message)]
    data = message.SerializeToString(deterministic=True)
    return Outgoing(
        subjects.event(event_type, account, key),
        data,
        name or digest(event_type, data.hex(), time),
        {
            subjects.HEADER_TYPE: event_type,
            subjects.HEADER_SOURCE: "exec-risk-service",
            subjects.HEADER_TIME: str(time),
            subjects.HEADER_TRACE: traceparent(TRACE),
        },
    )


def delivered(sent: Outgoing, sequence: int = 1) -> Message:
    """The message as a consumer gets it."""
    headers = {**sent.headers, subjects.HEADER_MESSAGE_ID: sent.message_id}
    return Message(sent.subject, sent.data, headers, sequence)


def fill(
    number: int,
    *,
    position: str,
    entry: bool,
    price: str,
    quantity: str = "1",
    long: bool = True,
    time: int = MAY,
    account: str = "main",
) -> facts.FillRecorded:
    """One fill."""
    buy = entry == long
    return facts.FillRecorded(
        fill=trading.Fill(
            trade_id=str(number),
            account=account,
            symbol="BTCUSDT",
            client_order_id=f"order-{number}",
            position_id=position,
            side=trading.SIDE_BUY if buy else trading.SIDE_SELL,
            price=price,
            quantity=quantity,
            commission="0.04",
            realized_pnl="0",
            time=time_to_pb(time),
            purpose=trading.ORDER_PURPOSE_ENTRY if entry else trading.ORDER_PURPOSE_TAKE_PROFIT,
        )
    )


def position(
    name: str, *, version: int, closed: bool, net: str = "0", long: bool = True, time: int = MAY
) -> trading.Position:
    """A position as a fact carries it."""
    return trading.Position(
        position_id=name,
        account="main",
        symbol="BTCUSDT",
        side=trading.POSITION_SIDE_LONG if long else trading.POSITION_SIDE_SHORT,
        status="closed" if closed else "open",
        realized_pnl=net,
        opened_time=time_to_pb(time),
        signal_id=f"sig-{name}",
        trace_id=TRACE,
        entry_model="m1",
        exit_reason=trading.EXIT_REASON_TAKE_PROFIT if closed else trading.EXIT_REASON_UNSPECIFIED,
        version=version,
        in_sample=True,
        leverage=3,
    )


def closed_trade(number: int, *, time: int = MAY, gross: int = 5) -> Sequence[Protobuf]:
    """Facts of one trade from open to closed: in at 100, out at 100 + gross, 0.08 commission."""
    name = f"pos-{number}"
    net = str(Decimal(gross) - Decimal("0.08"))
    return [
        fill(2 * number, position=name, entry=True, price="100", time=time),
        facts.PositionOpened(
            symbol="BTCUSDT",
            position_id=name,
            position=position(name, version=1, closed=False, time=time),
        ),
        fill(
            2 * number + 1,
            position=name,
            entry=False,
            price=str(100 + gross),
            time=time + MINUTE,
        ),
        facts.PositionClosed(
            symbol="BTCUSDT",
            position_id=name,
            position=position(name, version=3, closed=True, net=net, time=time),
        ),
    ]


def round_decided(time: int, *, wallet: str, close: str = "100") -> facts.RoundDecided:
    """A decided round."""
    return facts.RoundDecided(
        account="main",
        time=time_to_pb(time),
        symbols=["BTCUSDT"],
        equity=wallet,
        wallet_balance=wallet,
        closes={"BTCUSDT": close},
    )


def predictions(time: int, symbols: Sequence[str]) -> ai.PredictionBatch:
    """One answer per symbol."""
    return ai.PredictionBatch(
        venue="paper",
        model_version="m1",
        predictions=[
            ai.Prediction(
                symbol=symbol,
                timeframe="1m",
                candle_open_time=time_to_pb(time - MINUTE),
                candle_close_time=time_to_pb(time),
                action=ai.ACTION_HOLD,
                confidence=0.4,
                p_down=0.2,
                p_flat=0.5,
                p_up=0.3,
            )
            for symbol in symbols
        ],
    )
