"""What ai publishes of candles, as messages ready to be sent."""

from __future__ import annotations

from services.ai import signal_spans
from services.ai.batch_wire import batch_to_bytes
from services.ai.codec import change_to_pb, signal_to_pb
from services.ai.core.answers import Batch
from services.ai.core.watch import Change
from services.catalog import subjects
from services.catalog.events import MODEL_WEIGHT_CHANGED, PREDICTION, SIGNAL_GENERATED
from services.catalog.processes import AI
from services.kit.bus.bus import Outgoing
from services.kit.observe.trace_context import traceparent
from services.trade.candle import Candle
from services.trade.ids import digest, trace_id


def change_message(change: Change, version: str) -> Outgoing:
    """Return the message of a model's weight; every replica says it under one id."""
    key = digest(version, change.model, str(change.effective_from), length=28)
    headers = {
        subjects.HEADER_TYPE: MODEL_WEIGHT_CHANGED,
        subjects.HEADER_SOURCE: AI.name,
        subjects.HEADER_TIME: str(change.effective_from),
    }
    data = change_to_pb(change, version).SerializeToString(deterministic=True)
    return Outgoing(subjects.model_weight_changed(change.model), data, f"mwc-{key}", headers)


def messages(batch: Batch) -> list[Outgoing]:
    """Return the messages of a batch: the signals each, then the batch that closes the round.

    The batch comes last: whoever has it can rely on the signals being stored.
    """
    signals = [
        Outgoing(
            subjects.signal(a.signal.candle.symbol),
            signal_to_pb(a.signal).SerializeToString(deterministic=True),
            a.signal.signal_id,
            _headers(a.signal.candle, SIGNAL_GENERATED, signal_spans.sent(a.signal).header()),
        )
        for a in batch.answers
        if a.signal is not None
    ]
    first = batch.answers[0].prediction.candle
    whole = Outgoing(
        subjects.prediction(batch.venue, batch.timeframe),
        batch_to_bytes(batch),
        batch.message_id,
        _headers(first, PREDICTION, traceparent(trace_id(first.key))),
    )
    return [*signals, whole]


def _headers(candle: Candle, event_type: str, trace: str) -> dict[str, str]:
    return {
        subjects.HEADER_TYPE: event_type,
        subjects.HEADER_SOURCE: AI.name,
        subjects.HEADER_TIME: str(candle.close_time),
        subjects.HEADER_TRACE: trace,
    }
