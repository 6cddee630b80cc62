"""Spans of an account's steps, each below what caused it.

The core knows trace ids only. What lies between is kept here in bounded memory: after a restart a
step is hung below the signal itself, whose span's id follows from the signal's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from services.catalog import subjects
from services.exec_risk.core import effects as fx
from services.exec_risk.core.inputs import PredictionsArrived
from services.exec_risk.core.state import Book
from services.exec_risk.core.trader import Event
from services.exec_risk.tracing.step_words import (
    ROUND,
    attributes,
    name,
    order_id,
    position_id,
    trace_of,
)
from services.kit.bus.message import Outgoing
from services.kit.observe import span_attributes
from services.kit.observe.logs import get_logger
from services.kit.observe.telemetry import SpanKind, Telemetry, now
from services.kit.observe.trace_context import TraceContext, current, new_span_id, within
from services.trade import ids
from services.trade.candle import Candle

log = get_logger(__name__)

_KEPT = 4096

K = TypeVar("K")
V = TypeVar("V")


class _Recent(OrderedDict[K, V], Generic[K, V]):
    """Keeps so many entries, the newest."""

    def put(self, key: K, value: V) -> None:
        """Keep a value and let go of the oldest when there are too many."""
        self[key] = value
        if len(self) > _KEPT:
            self.popitem(last=False)


@dataclass(slots=True)
class _Step:
    """What one event did in one trace."""

    place: TraceContext
    parent: TraceContext | None
    attributes: dict[str, Any] = field(default_factory=dict)


class StepSpans:
    """Satisfies `Traces`, and tells store, requests and candles where they belong."""

    def __init__(self, telemetry: Telemetry, account: str) -> None:
        self._telemetry = telemetry
        self._account = account
        self._candles: _Recent[str, tuple[Candle, Outgoing, int, int]] = _Recent()
        self._arrived: _Recent[str, int] = _Recent()
        self._requests: _Recent[str, TraceContext] = _Recent()
        self._orders: _Recent[str, TraceContext] = _Recent()
        self._first: _Recent[str, TraceContext] = _Recent()
        # the effect itself is kept with its place, so that its identity is not used again
        self._places: _Recent[int, tuple[fx.Effect, TraceContext]] = _Recent()

    def published(self, candles: Iterable[Candle], message: Outgoing, start: int, end: int) -> None:
        """Remember how closed candles were published: a signal may come of them."""
        for candle in candles:
            self._candles.put(ids.trace_id(candle.key), (candle, message, start, end))

    def arrived(self, batch: PredictionsArrived) -> None:
        """Remember when signals came."""
        moment = now()
        for prediction in batch.predictions:
            if prediction.signal is not None:
                self._arrived.put(prediction.signal.signal_id, moment)

    @contextmanager
    def asking(self, request_id: str, kind: str) -> Iterator[None]:
        """Ask the leader: a call that may change something is always written."""
        here = current()
        if here is not None and kind != "validate_entry":
            here.keep()
        attributes = {"quantum.request_id": request_id, "quantum.command": kind}
        with self._telemetry.span("ask leader", attributes=attributes) as draft:
            self.asked(request_id, draft.place if draft else None)
            yield

    def asked(self, request_id: str, place: TraceContext | None) -> None:
        """Remember where a request comes from."""
        if place is not None and place.sampled and request_id not in self._requests:
            self._requests.put(request_id, place)

    def began(self) -> int:
        """Return the moment at which an event is handed to the core."""
        return now()

    def handled(self, event: Event, effects: Sequence[fx.Effect], book: Book, began: int) -> None:
        """Write a span of the step in every trace that the event has moved."""
        if not effects or not self._telemetry.writes:
            return
        try:
            self._write_steps(event, effects, book, began)
        except Exception:
            # a span must never cost a trade
            log.exception("step_span_failed", cause=type(event).__name__)

    def _write_steps(
        self, event: Event, effects: Sequence[fx.Effect], book: Book, began: int
    ) -> None:
        asker = self._requests.get(getattr(event, "request_id", ""))
        asked = None if asker is None else _Step(asker.child(), asker)
        steps = {} if asked is None else {asked.place.trace_id: asked}
        for effect in effects:
            trace = trace_of(effect, book)
            if trace and trace not in steps:
                place = TraceContext(trace, new_span_id(), sampled=True)
                steps[trace] = _Step(place, self._parent(event, effect, book, trace))
            step = steps[trace] if trace else asked
            if step is not None:
                # the first effect is what the step is about
                step.attributes = {**attributes(effect), **step.attributes}
                self._hang(effect, (asked or step).place, step.place)
        end = now()
        for effect in effects:
            if isinstance(effect, fx.RiskDecided) and isinstance(event, ROUND):
                self._write_signal(effect, end)
        for step in steps.values():
            if step.place.trace_id not in self._first:
                self._first.put(step.place.trace_id, step.place)
            self._telemetry.write(
                name(event),
                step.place,
                parent=step.parent,
                start=began,
                end=end,
                attributes={"quantum.account": self._account, **step.attributes},
            )

    def acting(self, action: fx.Action) -> AbstractContextManager[None]:
        """Return the context in which an action is to be begun: requests carry its trace."""
        kept = self._places.pop(id(action), None)
        return within(kept[1] if kept is not None else None)

    def place_of(self, change: fx.Change) -> TraceContext | None:
        """Return the step that a change comes from."""
        kept = self._places.get(id(change))
        return kept[1] if kept is not None and kept[0] is change else None

    def committed(self, changes: Sequence[fx.Change], start: int) -> None:
        """Write a span of the commit below every step that it has kept."""
        steps: dict[str, TraceContext] = {}
        for change in changes:
            kept = self._places.pop(id(change), None)
            if kept is not None:
                steps.setdefault(kept[1].span_id, kept[1])
        end = now()
        for place in steps.values():
            self._telemetry.write(
                "COMMIT exec_risk",
                place.child(),
                parent=place,
                start=start,
                end=end,
                kind=SpanKind.CLIENT,
                attributes=span_attributes.committed("exec_risk", len(changes)),
            )

    def _hang(self, effect: fx.Effect, acting: TraceContext, told: TraceContext) -> None:
        """Requests to the exchange belong to who asked for them, facts to their own trace."""
        if isinstance(effect, fx.Place | fx.Cancel):
            self._orders.put(effect.order.client_order_id, acting)
        place = acting if isinstance(effect, fx.ACTIONS) else told
        self._places.put(id(effect), (effect, place))

    def _parent(
        self, event: Event, effect: fx.Effect, book: Book, trace: str
    ) -> TraceContext | None:
        order = order_id(event)
        placed = self._orders.get(order) if order else None
        if placed is not None and placed.trace_id == trace:
            return placed
        signal = effect.signal_id if isinstance(effect, fx.RiskDecided) else ""
        if not signal:
            plan = book.plans.get(position_id(effect))
            signal = plan.signal_id if plan is not None else ""
        if not signal:
            return self._first.get(trace)
        return TraceContext(trace, ids.judged_span(self._account, signal), sampled=True)

    def _write_signal(self, decided: fx.RiskDecided, end: int) -> None:
        """Write the candle, whose outcome is known now, and the way of its signal to here."""
        trace, signal = decided.trace_id, decided.signal_id
        if not trace:
            return
        known = self._candles.pop(trace, None)
        if known is not None:
            self._write_candle(TraceContext(trace, ids.candle_span(known[0].key)), *known)
        self._telemetry.write(
            "process quantum.live.signal.generated",
            TraceContext(trace, ids.judged_span(self._account, signal)),
            parent=TraceContext(trace, ids.signal_span(signal)),
            start=self._arrived.pop(signal, end),
            end=end,
            kind=SpanKind.CONSUMER,
            attributes={
                **span_attributes.message_handled(subjects.signal(decided.symbol), signal),
                "quantum.symbol": decided.symbol,
                "quantum.account": self._account,
            },
        )

    def _write_candle(
        self, place: TraceContext, candle: Candle, message: Outgoing, start: int, end: int
    ) -> None:
        self._telemetry.write(
            "send quantum.market.candle",
            place,
            start=start,
            end=end,
            kind=SpanKind.PRODUCER,
            attributes={
                **span_attributes.message_sent(message.subject, message.message_id),
                "quantum.symbol": candle.symbol,
            },
        )
