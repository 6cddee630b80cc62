"""Messages of the bus to events of the ledger. What cannot be read is refused with a reason."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache

from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Protobuf
from quantum.ai.v1 import signal_pb2 as ai
from quantum.exec_risk.v1 import events_pb2 as facts
from quantum.exec_risk.v1 import trading_pb2 as trading

from services.analytics.core.ledger import (
    BookedFill,
    BookedFunding,
    Fact,
    LedgerEvent,
    PositionFact,
    PredictionFact,
    RoundFact,
    SignalFact,
    WalletFact,
)
from services.analytics.ledger.codec_json import to_json
from services.catalog.events import MESSAGES
from services.catalog.subjects import (
    HEADER_MESSAGE_ID,
    HEADER_SOURCE,
    HEADER_TIME,
    HEADER_TRACE,
    HEADER_TYPE,
)
from services.kit.bus.headers import Headers
from services.kit.bus.message import Message
from services.trade.codec import (
    decimal_from_pb,
    enum_from_pb,
    fill_from_pb,
    optional_decimal,
    time_from_pb,
)
from services.trade.order import OrderPurpose
from services.trade.position import ExitReason, PositionSide
from services.trade.times import DAY_MS

_FIRST_TIME = 45 * 365 * DAY_MS
_LAST_TIME = 130 * 365 * DAY_MS
"""Market times outside of about 2014 to 2099 are errors of the publisher."""
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class Unreadable(Exception):
    """The message can never be recorded; the text says why."""


def to_event(message: Message) -> LedgerEvent:
    """Read one message; Unreadable when its type, headers or payload are wrong."""
    headers = message.headers
    if isinstance(headers, Headers):
        headers = headers.whole()
    event_type, event_id = headers.get(HEADER_TYPE, ""), headers.get(HEADER_MESSAGE_ID, "")
    decoded = _decode(event_type, message.data)
    time = _market_time(headers.get(HEADER_TIME, ""), message)
    try:
        data = to_json(decoded)
        found = tuple(_facts(decoded, message.sequence))
    except ValueError as error:
        raise Unreadable(f"{event_type}: {error}") from error
    if "\\u0000" in data:
        raise Unreadable("the payload holds a NUL character")
    if not event_id:
        raise Unreadable("no message id")
    return LedgerEvent(
        event_id,
        event_type,
        time,
        headers.get(HEADER_SOURCE, ""),
        _trace_id(headers.get(HEADER_TRACE, ""), message),
        _key(message.subject, event_type),
        message.subject,
        message.sequence,
        data,
        message.data,
        found,
    )


def facts_of(event_type: str, payload: bytes, sequence: int) -> tuple[Fact, ...]:
    """Return the facts of a recorded event again: a rebuild reads the ledger with it."""
    return tuple(_facts(MESSAGES[event_type].FromString(payload), sequence))


def _decode(event_type: str, data: bytes) -> Protobuf:
    kind = MESSAGES.get(event_type)
    if kind is None:
        raise Unreadable(f"unknown event type {event_type!r}")
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise Unreadable(f"{event_type}: the payload is no {kind.__name__}: {error}") from error


def _market_time(text: str, message: Message) -> int:
    try:
        time = int(text) if text.isdigit() else message.market_time
    except ValueError as error:
        raise Unreadable(str(error)) from error
    if not _FIRST_TIME <= time <= _LAST_TIME:
        raise Unreadable(f"market time {time} is impossible")
    return time


def _trace_id(header: str, message: Message) -> str:
    # The plain form is read here; what else W3C allows is left to the kit, which is slower.
    plain = _TRACEPARENT.fullmatch(header)
    return plain[1] if plain else message.trace_id


@lru_cache(maxsize=1024)
def _key(subject: str, event_type: str) -> str:
    """First token after the type: the account of a fact, the symbol of a signal."""
    _, found, rest = subject.partition(f".{event_type}.")
    return rest.split(".")[0] if found else subject.rsplit(".", 1)[-1]


def _facts(message: Protobuf, sequence: int) -> list[Fact]:
    reader = _READERS.get(type(message))
    return reader(message, sequence) if reader else []


def _fill(message: facts.FillRecorded, sequence: int) -> list[Fact]:
    fill = fill_from_pb(message.fill)
    if not (fill.trade_id and fill.account and fill.symbol):
        for field in ("trade_id", "account", "symbol"):
            _filled(getattr(fill, field), field)
    if fill.price <= 0 or fill.quantity <= 0:
        raise ValueError(f"fill {fill.trade_id} of {fill.quantity} at {fill.price}")
    # The exchange's own orders (a liquidation) have no purpose; they only close.
    purpose = message.fill.purpose or trading.ORDER_PURPOSE_EXIT
    return [
        BookedFill(
            fill=fill,
            position_id=message.fill.position_id,
            purpose=enum_from_pb(OrderPurpose, purpose),
            sequence=sequence,
        )
    ]


def _funding(message: facts.FundingPaid, sequence: int) -> list[Fact]:
    time = time_from_pb(message.time)
    return [
        BookedFunding(
            account=_filled(message.account, "account"),
            symbol=_filled(message.symbol, "symbol"),
            settlement_id=message.transaction_id or str(time),
            position_id=message.position_id,
            amount=decimal_from_pb(message.amount, "amount"),
            time=time,
            sequence=sequence,
        )
    ]


def _position(
    message: facts.PositionOpened | facts.PositionChanged | facts.PositionClosed, _: int
) -> list[Fact]:
    p = message.position
    # what is planned at the entry is told before the stop rests on the exchange
    planned = message.stop_loss_price if isinstance(message, facts.PositionOpened) else ""
    stop = optional_decimal(planned or p.stop_loss_price, "stop_loss_price")
    return [
        PositionFact(
            position_id=_filled(p.position_id, "position_id"),
            version=p.version,
            account=_filled(p.account, "account"),
            symbol=_filled(p.symbol, "symbol"),
            side=enum_from_pb(PositionSide, p.side),
            closed=p.status == "closed",
            opened_time=time_from_pb(p.opened_time),
            leverage=p.leverage,
            signal_id=p.signal_id,
            trace_id=p.trace_id,
            model_version=p.entry_model,
            entry_confidence=_finite(p.entry_confidence, "entry_confidence"),
            in_sample=p.in_sample,
            exit_reason=enum_from_pb(ExitReason, p.exit_reason) if p.exit_reason else None,
            reported_net=_amount(p.realized_pnl) - _amount(p.commission) + _amount(p.funding),
            initial_stop=stop,
            stop_version=0 if stop is None else p.version,
        )
    ]


def _round(message: facts.RoundDecided, sequence: int) -> list[Fact]:
    closes = message.closes
    return [
        RoundFact(
            account=_filled(message.account, "account"),
            time=time_from_pb(message.time),
            wallet_balance=optional_decimal(message.wallet_balance, "wallet_balance"),
            closes=tuple([(s, decimal_from_pb(closes[s], s)) for s in sorted(closes)]),
            in_sample=message.in_sample,
            sequence=sequence,
            equity=optional_decimal(message.equity, "equity"),
        )
    ]


def _account(message: facts.AccountSnapshot, sequence: int) -> list[Fact]:
    account = message.account
    wallet = optional_decimal(account.wallet_balance, "wallet_balance")
    if wallet is None:
        return []
    return [
        WalletFact(
            account=_filled(account.account, "account"),
            time=time_from_pb(account.time),
            wallet_balance=wallet,
            sequence=sequence,
        )
    ]


def _predictions(message: ai.PredictionBatch, _: int) -> list[Fact]:
    if message.shadow:  # kept as an event; the answer that counts is the active artifact's
        return []
    return [
        PredictionFact(
            venue=_filled(message.venue, "venue"),
            symbol=_filled(p.symbol, "symbol"),
            timeframe=p.timeframe,
            candle_open=time_from_pb(p.candle_open_time),
            model_version=message.model_version,
            action=ai.Action.Name(p.action).removeprefix("ACTION_"),
            confidence=p.confidence,
            p_down=p.p_down,
            p_flat=p.p_flat,
            p_up=p.p_up,
            in_sample=message.in_sample,
        )
        for p in message.predictions
    ]


def _signal(message: ai.Signal, _: int) -> list[Fact]:
    return [
        SignalFact(
            signal_id=_filled(message.signal_id, "signal_id"),
            symbol=_filled(message.symbol, "symbol"),
            action=ai.Action.Name(message.action).removeprefix("ACTION_"),
            price=decimal_from_pb(message.price, "price"),
            time=time_from_pb(message.candle_close_time),
            confidence=_finite(message.confidence, "confidence"),
            model_version=message.model_version,
            in_sample=message.in_sample,
        )
    ]


_READERS: dict[type[Protobuf], Callable[..., list[Fact]]] = {
    facts.FillRecorded: _fill,
    facts.FundingPaid: _funding,
    facts.PositionOpened: _position,
    facts.PositionChanged: _position,
    facts.PositionClosed: _position,
    facts.RoundDecided: _round,
    facts.AccountSnapshot: _account,
    ai.PredictionBatch: _predictions,
    ai.Signal: _signal,
}


def _filled(text: str, field: str) -> str:
    if not text:
        raise ValueError(f"{field} is empty")
    return text


def _finite(value: float, field: str) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{field} is {value}")
    return value


def _amount(text: str) -> Decimal:
    return optional_decimal(text, "amount") or Decimal(0)
