"""Puts the events of one paper step together before they are handed out. Pure.

The venue writes a step's events to several sockets and then its point to one more. Sockets
overtake each other, so events wait for their point, which says how many there are; then they go
out in one order: user events as they came, candles by symbol, prices, the point. An event of a
step that is already handed out (the acknowledgement of an order that was sent since) goes out at
once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.exec_risk.core.exchange_events import (
    CandleClosed,
    ExchangeEvent,
    PointReached,
    PriceReport,
)
from services.exec_risk.exchange.stream_parse import FundingSettled


@dataclass(frozen=True, slots=True)
class Missing:
    """What of a step did not come: the reader must ask the exchange for it, then go on."""

    point: PointReached
    user_events: bool
    candles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """Candles of symbols closed that are not followed yet: the reader must look them up."""

    symbols: frozenset[str]


_NONE = -1

Item = ExchangeEvent | FundingSettled | Missing | Listed


@dataclass(slots=True)
class _Step:
    received: int = 0
    seen: set[str] = field(default_factory=set)
    events: list[Item] = field(default_factory=list)
    candles: dict[str, CandleClosed] = field(default_factory=dict)
    prices: list[PriceReport] = field(default_factory=list)


class StepSequencer:
    """Collects events by step number; every method returns what goes out now, in order."""

    def __init__(self) -> None:
        self._steps: dict[int, _Step] = {}
        self._points: deque[tuple[PointReached, int]] = deque()
        self._done = _NONE
        self._through = False

    @property
    def done(self) -> int:
        """Number of the last step that was handed out; -1 before the first."""
        return self._done

    @property
    def waiting(self) -> PointReached | None:
        """The point that waits for events."""
        return self._points[0][0] if self._points else None

    @property
    def orphaned(self) -> bool:
        """True while events are held whose point has not come."""
        return not self._points and any(s.events or s.candles for s in self._steps.values())

    def user(self, step: int | None, events: Sequence[Item]) -> list[Item]:
        """Take one message of the user stream, which may hold no event that is of use."""
        if step is None or step <= self._done:
            return list(events)
        held = self._steps.setdefault(step, _Step())
        held.received += 1
        if self._through:
            return list(events)
        held.events.extend(events)
        return self._complete()

    def candle(self, step: int | None, event: CandleClosed) -> list[Item]:
        """Take a closed candle."""
        if step is None or step <= self._done:
            return [event]
        held = self._steps.setdefault(step, _Step())
        held.seen.add(event.candle.symbol)
        if self._through:
            return [event]
        held.candles[event.candle.symbol] = event
        return self._complete()

    def prices(self, step: int, reports: Sequence[PriceReport]) -> list[Item]:
        """Take the prices of a step, told with its point. Of a step that is done they are old."""
        if step <= self._done:
            return []
        self._steps.setdefault(step, _Step()).prices = list(reports)
        return []

    def point(self, point: PointReached, user_events: int) -> list[Item]:
        """Take a step's point. One already known, told on a new connection again, is nothing."""
        self._through = False
        newest = self._points[-1][0].number if self._points else self._done
        if point.number > newest:
            self._points.append((point, user_events))
        return self._complete()

    def give_up(self) -> list[Item]:
        """Stop waiting: what came of the waiting step, then what is missing in place of its point.

        Who reads `Missing` makes up for it and takes its point as handed out.
        """
        if not self._points:
            return []
        point, expected = self._points.popleft()
        held = self._steps.get(point.number, _Step())
        missing = Missing(
            point=point,
            user_events=held.received < expected,
            candles=tuple(s for s in sorted(point.closed_symbols) if s not in held.seen),
        )
        self._done = point.number
        return [*self._release(point.number), missing, *self._complete()]

    def disconnect(self) -> list[Item]:
        """The point socket is down: hand out what is held and let everything through.

        A fill must not wait for a clock that may stay away.
        """
        self._through = True
        return self.flush()

    def flush(self) -> list[Item]:
        """Hand out what is held, in order, without its point."""
        out: list[Item] = []
        for number in sorted(self._steps):
            out.extend(_drain(self._steps[number]))
        return out

    def _complete(self) -> list[Item]:
        out: list[Item] = []
        while self._points:
            point, expected = self._points[0]
            held = self._steps.get(point.number, _Step())
            if held.received < expected or not set(point.closed_symbols) <= held.seen:
                break
            self._points.popleft()
            self._done = point.number
            out += [*self._release(point.number), point]
        return out

    def _release(self, upto: int) -> list[Item]:
        out: list[Item] = []
        for number in sorted(n for n in self._steps if n <= upto):
            out.extend(_drain(self._steps.pop(number)))
        return out


def _drain(step: _Step) -> list[Item]:
    candles = [step.candles[symbol] for symbol in sorted(step.candles)]
    out = [*step.events, *candles, *step.prices]
    step.events, step.candles, step.prices = [], {}, []
    return out
