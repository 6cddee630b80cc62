"""Spans of what goes into the ledger; messages whose flag is down leave none."""

from __future__ import annotations

from collections.abc import Sequence

from services.kit.bus.message import Message
from services.kit.observe import span_attributes
from services.kit.observe.telemetry import SpanKind, Telemetry, now
from services.kit.observe.trace_context import TraceContext, sampled_context_of, span_id_of


class LedgerSpans:
    """Writes the handling of each traced message, and the commit that holds it."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def write(self, messages: Sequence[Message], *, began: int, asked: int, recorded: int) -> None:
        """Write the spans of a batch: taken at `began`, written from `asked` to `recorded`."""
        if not self._telemetry.writes:
            return
        end = now()
        committed: set[str] = set()
        for message in messages:
            parent = sampled_context_of(message.headers)
            if parent is None:
                continue
            place = parent.child(span_id_of("ledger", message.message_id))
            self._handled(message, place, parent, began, end)
            if parent.trace_id not in committed:
                committed.add(parent.trace_id)
                self._committed(place, len(messages), asked, recorded)

    def _handled(
        self, message: Message, place: TraceContext, parent: TraceContext, began: int, end: int
    ) -> None:
        family = message.subject.split(".", 2)[1]
        self._telemetry.write(
            f"process quantum.{family}.{message.type}",
            place,
            parent=parent,
            start=began,
            end=end,
            kind=SpanKind.CONSUMER,
            attributes=span_attributes.message_handled(message.subject, message.message_id),
        )

    def _committed(self, parent: TraceContext, events: int, asked: int, recorded: int) -> None:
        self._telemetry.write(
            "COMMIT analytics",
            parent.child(span_id_of("ledger commit", parent.span_id)),
            parent=parent,
            start=asked,
            end=recorded,
            kind=SpanKind.CLIENT,
            attributes=span_attributes.committed("analytics", events),
        )
