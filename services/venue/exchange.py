"""The exchange as a whole: engine, market and journal kept in step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Protocol

from services.venue.core.disturbances import Disturbance
from services.venue.core.engine import Engine
from services.venue.core.events import VenueEvent
from services.venue.core.orders import (
    AmendRequest,
    Conditional,
    ConditionalRequest,
    OrderRequest,
    VenueOrder,
)
from services.venue.core.snapshot import export, pack, restore, unpack
from services.venue.core.steps import Point, Step
from services.venue.markets.feed import Moment
from services.venue.markets.market import Market
from services.venue.store import Input, Journal

SNAPSHOT_STEPS = 240
"""Steps between two snapshots: a restart replays at most so many."""


class Feed(Protocol):
    """Where steps come from."""

    def at(self, number: int) -> Moment | None:
        """Return a step that can be had now; None after the end."""
        ...


@dataclass(frozen=True, slots=True)
class Forming:
    """What the running candle of a symbol has shown so far."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    def with_point(self, point: Point) -> Forming:
        """Return the bar after one more point."""
        return Forming(
            self.open,
            max(self.high, point.price),
            min(self.low, point.price),
            point.price,
            self.volume + point.volume,
        )


class MomentLog(Protocol):
    """How a market that cannot be had again is written down and read back."""

    def pack(self, moment: Moment) -> dict[str, Any]:
        """Return a moment as JSON-able data."""
        ...

    def unpack(self, data: dict[str, Any]) -> Moment:
        """Return the moment that was packed."""
        ...


@dataclass(frozen=True, slots=True)
class Advance:
    """A step that was carried out and written."""

    step: Step
    events: Sequence[VenueEvent]


class PaperExchange:
    """Takes requests and steps, writes both before answering, and recovers from the journal."""

    def __init__(
        self, *, engine: Engine, market: Market, journal: Journal, log: MomentLog | None = None
    ) -> None:
        self.engine = engine
        self.market = market
        self.journal = journal
        self._log = log
        self.last_step: Step | None = None
        self.forming: dict[str, Forming] = {}
        """Running candle of each symbol that has had a point since its last close."""
        self.ended = False

    @property
    def number(self) -> int:
        """Number of the last step."""
        return self.engine.state.number

    @property
    def time(self) -> int:
        """Market time."""
        return self.engine.state.time

    def recover(self, feed: Feed) -> int:
        """Bring a fresh engine to where the journal ends; return how many steps were replayed."""
        seq, snapshot = self.journal.last_snapshot()
        if snapshot is not None:
            restore(self.engine.state, snapshot)
        inputs = self.journal.inputs_after(seq)
        place, first, last = 0, self.number, self.journal.step
        while True:
            while place < len(inputs) and inputs[place].step == self.number:
                self._replay(inputs[place])
                place += 1
            if self.number >= last:
                break
            moment = self._journaled(self.number + 1) or feed.at(self.number + 1)
            if moment is None:
                raise RuntimeError(f"the market has no step {self.number + 1}, the journal does")
            self.engine.step(moment.step, moment.funding)
            self._follow(moment.step)
        if self.last_step is None and last:
            current = self._journaled(last) or feed.at(last)
            self.last_step = current.step if current else None
        return last - first

    def place(self, request: OrderRequest) -> VenueOrder:
        """Take a plain order; written before it returns."""
        order = self.engine.place(request)
        self.journal.add_input(self.number, "place", pack(request))
        return order

    def amend(self, request: AmendRequest) -> VenueOrder:
        """Take an amendment of a limit order; written before it returns."""
        order = self.engine.amend(request)
        body = pack(replace(request, order_id=order.order_id))
        self.journal.add_input(self.number, "amend", body)
        return order

    def place_conditional(self, request: ConditionalRequest) -> Conditional:
        """Take a conditional order; written before it returns."""
        order = self.engine.place_conditional(request)
        self.journal.add_input(self.number, "place_conditional", pack(request))
        return order

    def cancel(self, symbol: str, *, order_id: int = 0, client_id: str = "") -> VenueOrder:
        """Ask for the end of a plain order; written before it returns."""
        order = self.engine.cancel(symbol, order_id=order_id, client_id=client_id)
        body = {"symbol": symbol, "order_id": order.order_id}
        self.journal.add_input(self.number, "cancel", body)
        return order

    def cancel_conditional(self, *, algo_id: int = 0, client_id: str = "") -> Conditional:
        """Ask for the end of a conditional order; written before it returns."""
        order = self.engine.cancel_conditional(algo_id=algo_id, client_id=client_id)
        self.journal.add_input(self.number, "cancel_conditional", {"algo_id": order.algo_id})
        return order

    def set_leverage(self, symbol: str, leverage: int) -> Decimal:
        """Set a symbol's leverage; written before it returns."""
        largest = self.engine.set_leverage(symbol, leverage)
        body = {"symbol": symbol, "leverage": leverage}
        self.journal.add_input(self.number, "leverage", body)
        return largest

    def set_hedged(self, hedged: bool) -> None:
        """Set the position mode; written before it returns."""
        self.engine.set_hedged(hedged)
        self.journal.add_input(self.number, "hedged", {"hedged": hedged})

    def set_countdown(self, symbol: str, milliseconds: int) -> None:
        """Start, prolong or end a symbol's countdown; written before it returns."""
        self.engine.set_countdown(symbol, milliseconds)
        body = {"symbol": symbol, "milliseconds": milliseconds}
        self.journal.add_input(self.number, "countdown", body)

    def disturb(self, disturbance: Disturbance) -> None:
        """Put a fault of the market in force; written before it returns."""
        self.engine.disturb(disturbance)
        self.journal.add_input(self.number, "disturb", pack(disturbance))

    def settle(self, fault_id: str) -> bool:
        """End a fault of the market; written before it returns."""
        ended = self.engine.settle(fault_id)
        if ended:
            self.journal.add_input(self.number, "settle", {"fault_id": fault_id})
        return ended

    def advance(self, moment: Moment) -> Advance:
        """Carry out a step; written before it returns."""
        step = moment.step
        events = self.engine.step(step, moment.funding)
        due = step.number % SNAPSHOT_STEPS == 0
        self.journal.add_step(
            step.number,
            events,
            moment=self._log.pack(moment) if self._log else None,
            snapshot=export(self.engine.state) if due else None,
        )
        self._follow(step)
        return Advance(step, events)

    def _journaled(self, number: int) -> Moment | None:
        if self._log is None:
            return None
        data = self.journal.moment(number)
        return self._log.unpack(data) if data else None

    def _follow(self, step: Step) -> None:
        for point in step.points:
            running = self.forming.get(point.symbol)
            price = self.engine.state.marks[point.symbol]
            self.forming[point.symbol] = (
                running.with_point(replace(point, price=price))
                if running
                else Forming(price, price, price, price, point.volume)
            )
        for candle in step.closed:
            self.forming.pop(candle.symbol, None)
        self.last_step = step

    def _replay(self, entry: Input) -> None:
        body, engine = entry.body, self.engine
        match entry.kind:
            case "place":
                engine.place(unpack(OrderRequest, body))
            case "place_conditional":
                engine.place_conditional(unpack(ConditionalRequest, body))
            case "cancel":
                engine.cancel(body["symbol"], order_id=body["order_id"])
            case "cancel_conditional":
                engine.cancel_conditional(algo_id=body["algo_id"])
            case "amend":
                engine.amend(unpack(AmendRequest, body))
            case "hedged":
                engine.set_hedged(body["hedged"])
            case "countdown":
                engine.set_countdown(body["symbol"], body["milliseconds"])
            case "disturb":
                engine.disturb(unpack(Disturbance, body))
            case "settle":
                engine.settle(body["fault_id"])
            case "leverage":
                engine.set_leverage(body["symbol"], body["leverage"])
            case _:
                raise RuntimeError(f"the journal has an input of unknown kind {entry.kind!r}")
