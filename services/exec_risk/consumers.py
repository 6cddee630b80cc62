"""The bus as exec_risk reads it: predictions and observed rounds."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import DecodeError
from quantum.ai.v1 import signal_pb2
from quantum.analytics.v1 import events_pb2 as analytics_pb2

from services.catalog import subjects
from services.exec_risk.core.inputs import Prediction, PredictionsArrived, Signal
from services.kit.bus.bus import Bus, Message
from services.kit.observe.logs import get_logger
from services.trade import ids
from services.trade.codec import CodecError, decimal_from_pb, time_from_pb
from services.trade.order import Side
from services.trade.times import timeframe_ms

log = get_logger(__name__)

_LOOK_BACK = 64
"""Messages of the stream before its end that are read at the start: a round in progress."""
_SIDES = {signal_pb2.ACTION_BUY: Side.BUY, signal_pb2.ACTION_SELL: Side.SELL}
_ACTIONS = {*_SIDES, signal_pb2.ACTION_HOLD}


def read_batch(data: bytes) -> PredictionsArrived:
    """Read a prediction batch; CodecError for anything that has no meaning here."""
    try:
        batch = signal_pb2.PredictionBatch.FromString(data)
    except DecodeError as error:
        raise CodecError(str(error)) from error
    if batch.shadow:
        raise CodecError(f"{batch.model_version} is a shadow: nobody acts on what it says")
    signals = {s.signal_id: _signal(s) for s in batch.signals}
    return PredictionsArrived(
        tuple(_prediction(p, signals) for p in batch.predictions), batch.in_sample
    )


def _prediction(message: signal_pb2.Prediction, signals: dict[str, Signal]) -> Prediction:
    if message.action not in _ACTIONS:
        raise CodecError(f"action {message.action} of {message.symbol} is unknown")
    signal = None
    if message.action in _SIDES and message.signal_id:
        if message.signal_id not in signals:
            raise CodecError(f"signal {message.signal_id} is not in its batch")
        signal = signals[message.signal_id]
    return Prediction(
        message.symbol, message.timeframe, time_from_pb(message.candle_close_time), signal
    )


def _signal(message: signal_pb2.Signal) -> Signal:
    if message.action not in _SIDES:
        raise CodecError(f"action {message.action} of signal {message.signal_id} is unknown")
    opened, closed = time_from_pb(message.candle_open_time), time_from_pb(message.candle_close_time)
    if closed - opened != timeframe_ms(message.timeframe):
        raise CodecError(f"signal {message.signal_id}: {opened}..{closed} is no candle")
    derived = ids.signal_id(message.venue, message.symbol, message.timeframe, opened)
    if message.signal_id != derived:
        raise CodecError(f"signal {message.signal_id} should be {derived}")
    candle = f"{message.venue}.{message.symbol}.{message.timeframe}.{opened}"
    return Signal(
        signal_id=message.signal_id,
        venue=message.venue,
        symbol=message.symbol,
        timeframe=message.timeframe,
        side=_SIDES[message.action],
        confidence=message.confidence,
        price=decimal_from_pb(message.price, "price"),
        atr_fraction=decimal_from_pb(repr(message.atr_fraction), "atr_fraction"),
        round_time=closed,
        expires_at=time_from_pb(message.expires_at),
        model_version=message.model_version,
        in_sample=message.in_sample,
        trace_id=ids.trace_id(candle),
    )


async def follow(
    bus: Bus,
    account: str,
    *,
    on_batch: Callable[[PredictionsArrived], None],
    on_observed: Callable[[int], None],
    on_unreadable: Callable[[str], None],
) -> None:
    """Follow predictions and observed rounds; what cannot be read is told, never guessed."""

    def batch(message: Message) -> None:
        try:
            on_batch(read_batch(message.data))
        except CodecError as error:
            log.error("prediction_unreadable", subject=message.subject, error=str(error))
            on_unreadable(str(error))

    def observed(message: Message) -> None:
        found = analytics_pb2.RoundObserved.FromString(message.data)
        if found.account == account:
            on_observed(time_from_pb(found.time))

    live, market = subjects.LIVE.name, subjects.ALL_PREDICTIONS
    last = await bus.last(live, market)
    start: str | int = "all" if last is None else max(1, last.sequence - _LOOK_BACK)
    await bus.follow(live, market, batch, start=start)
    await bus.follow(live, subjects.round_observed(account), observed, start="last")
