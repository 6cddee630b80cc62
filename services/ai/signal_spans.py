"""Spans of the candles that made a signal; all others leave none.

Their ids follow from candle and signal, so that a second answer to the same candle repeats them and
whoever handles the signal can name its parent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.ai.core.answers import Answer
from services.ai.core.signals import Signal
from services.catalog import subjects
from services.kit.bus.message import Message
from services.kit.observe import span_attributes
from services.kit.observe.telemetry import SpanKind, Telemetry
from services.kit.observe.trace_context import TraceContext, span_id_of
from services.trade.ids import candle_span, signal_span, trace_id


@dataclass(frozen=True, slots=True)
class Moments:
    """Wall times of one batch, in nanoseconds."""

    received: int
    asked: int
    """When the models were asked; the replica's own reading may have been waited for before."""
    predicted: int
    published: int


def sent(signal: Signal) -> TraceContext:
    """Return the span of a signal's publication, as its message carries it."""
    return TraceContext(trace_id(signal.candle.key), signal_span(signal.signal_id), sampled=True)


def write(
    telemetry: Telemetry,
    answers: Sequence[Answer],
    sources: Mapping[str, Message],
    moments: Moments,
) -> None:
    """Write the spans of the answers that made a signal.

    `sources` holds the messages that the candles came in, by candle key.
    """
    if not telemetry.writes:
        return
    for answer in answers:
        if answer.signal is not None:
            source = sources[answer.signal.candle.key]
            _write_one(telemetry, answer.signal, source, moments, len(answers))


def _write_one(
    telemetry: Telemetry, signal: Signal, source: Message, moments: Moments, rows: int
) -> None:
    candle = signal.candle
    send = sent(signal)
    handling = send.child(span_id_of("answer", candle.key))
    telemetry.write(
        "process quantum.market.candle",
        handling,
        parent=TraceContext(trace_id(candle.key), candle_span(candle.key)),
        start=moments.received,
        end=moments.published,
        kind=SpanKind.CONSUMER,
        attributes={
            **span_attributes.message_handled(source.subject, source.message_id),
            "messaging.consumer.group.name": subjects.AI_WORK_CONSUMER,
            "quantum.symbol": candle.symbol,
        },
    )
    telemetry.write(
        "inference",
        handling.child(span_id_of("inference", candle.key)),
        parent=handling,
        start=moments.asked,
        end=moments.predicted,
        attributes={
            "quantum.model.version": signal.model_version,
            "quantum.rows": rows,
            "quantum.action": signal.action.value,
            "quantum.confidence": signal.confidence,
        },
    )
    telemetry.write(
        "send quantum.live.signal.generated",
        send,
        parent=handling,
        start=moments.predicted,
        end=moments.published,
        kind=SpanKind.PRODUCER,
        attributes=span_attributes.message_sent(subjects.signal(candle.symbol), signal.signal_id),
    )
