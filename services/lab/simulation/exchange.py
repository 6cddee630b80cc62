"""The seam `Exchange`: one replica's connection to the simulated venue, with its faults."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from typing import Protocol, TypeVar

from services.exec_risk.core import exchange_events as ex
from services.lab.simulation.faults import Fault, Faults
from services.lab.simulation.network import Network
from services.lab.simulation.replica_clock import EPOCH, ReplicaClock
from services.lab.simulation.venue import AHEAD_MS, RECV_WINDOW_MS, Venue
from services.trade.candle import Candle
from services.trade.filters import SymbolFilters
from services.trade.order import Order

T = TypeVar("T")
CLIENT_TIMEOUT = 5.0
CLOCK_CODE = "-1021"
_CODES = (
    ("-2019", "Margin is insufficient.", False),
    ("-1003", "Too many requests.", True),
    ("-1015", "Too many new orders.", True),
    ("-4164", "Order's notional must be no smaller than 5.0.", False),
    ("-2027", "Exceeded the maximum allowable position at current leverage.", False),
    ("-1111", "Precision is over the maximum defined for this asset.", False),
    ("-4045", "Reach max stop order limit.", False),
    ("-2021", "Order would immediately trigger.", False),
    ("-2022", "ReduceOnly Order is rejected.", False),
    ("-2015", "Invalid API-key, IP, or permissions for action.", False),
    ("not_sent", "Connection refused.", True),
)
"""Code, text, whether exec_risk's client calls it retryable."""


class Unavailable(Exception):
    """A read got no answer."""


class Desk(Protocol):
    """What the world wants to know of a replica's requests."""

    def sending(self, replica: str, order: Order) -> None:
        """An order is handed to the network."""
        ...

    def arrived(self, replica: str, order: Order, refused: ex.Refused | None) -> None:
        """An order reached the exchange."""
        ...

    def ended(self, replica: str, order: Order, fault: str) -> None:
        """The sender has its answer; `fault` names what went wrong on the way."""
        ...

    def cancelling(self, order: Order) -> None:
        """A cancel reached the exchange."""
        ...

    def cancelled(self, replica: str, order: Order, outcome: ex.RequestOutcome, fault: str) -> None:
        """A cancel has its answer."""
        ...

    def trouble(self, seconds: float, symbol: str = "") -> None:
        """A fault holds something up."""
        ...

    def acted(self, milliseconds: int) -> None:
        """The exchange has something to do with the next price."""
        ...

    def answered(self, number: int) -> None:
        """A point was answered with idle."""
        ...


class SimulatedExchange:
    """Satisfies `services.exec_risk.seams.Exchange`."""

    def __init__(
        self,
        *,
        replica: str,
        venue: Venue,
        network: Network,
        faults: Faults,
        clock: ReplicaClock,
        desk: Desk,
        points: Callable[[], list[ex.ExchangeEvent]] | None,
        away_until: list[float],
    ) -> None:
        self._replica = replica
        self._venue = venue
        self._network = network
        self._faults = faults
        self._clock = clock
        self._desk = desk
        self._points = points
        self._queue: deque[ex.ExchangeEvent] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._offset_ms = 0
        self._lose_next: set[str] = set()
        self._away_until = away_until
        self.up = True
        """True while the user stream is open."""

    @property
    def connected(self) -> bool:
        """True while the user stream is open."""
        return self.up

    @property
    def tells_points(self) -> bool:
        """True on the paper venue."""
        return self._points is not None

    # what the exchange tells

    def hand(self, event: ex.ExchangeEvent) -> None:
        """Let the replica hear an event."""
        self._queue.append(event)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def events(self) -> AsyncIterator[ex.ExchangeEvent]:
        """Everything that was handed, on the paper venue the current point first."""
        if self._points is not None:
            self._queue.extendleft(reversed(self._points()))
        newest = -1
        while True:
            while self._queue:
                event = self._queue.popleft()
                if isinstance(event, ex.PointReached):
                    if event.number <= newest:
                        continue
                    newest = event.number
                yield event
            self._waiting = self._network.loop.create_future()
            await self._waiting

    # reads

    async def filters(self) -> dict[str, SymbolFilters]:
        """Read the filters of every symbol."""
        rules = self._venue.market.rules
        return await self._read(lambda: {s: r.filters for s, r in rules.items()})

    async def history(self, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        """There is none before the start."""
        del symbol, timeframe, limit
        return await self._read(list)

    async def snapshot(self, since: int) -> ex.ExchangeSnapshot:
        """Read the account in several requests, as on the wire: each at its own moment."""
        venue = self._venue
        account = await self._read(venue.account_report)
        await self._tear()
        resting = await self._read(venue.open_orders)
        await self._tear()
        rest = await self._read(
            lambda: (
                tuple(f for f in venue.fills if f.time >= since),
                tuple(f for f in venue.funding if f.time >= since),
                venue.leverages(),
            )
        )
        return ex.ExchangeSnapshot(account, resting, *rest)

    async def _tear(self) -> None:
        if self._faults.strikes(Fault.SNAPSHOT_TORN, 0.1):
            await self._network.wait(self._faults.stream(Fault.SNAPSHOT_TORN).uniform(0.05, 0.8))

    async def find(self, order: Order) -> ex.OrderReport | None:
        """Ask for an order by its client order id."""
        return await self._read(lambda: self._venue.find(order))

    async def _read(self, act: Callable[[], T]) -> T:
        if self._venue_away() or self._faults.strikes(Fault.READ_FAILED, 0.05):
            hang = self._faults.stream(Fault.READ_FAILED).choice((0.02, 0.5, CLIENT_TIMEOUT))
            self._desk.trouble(hang + 0.5)
            await self._network.wait(hang)
            raise Unavailable("no answer")
        return await self._network.ask(act)

    # requests that change something

    async def place(self, order: Order, *, signed_at: int) -> ex.RequestOutcome:
        """Send an order once."""
        self._desk.sending(self._replica, order)

        def act() -> ex.RequestOutcome:
            found = self._venue.place(order)
            refused = found if isinstance(found, ex.Refused) else None
            self._desk.arrived(self._replica, order, refused)
            if refused is not None:
                return refused
            self._desk.acted(self._faults.dice.randint(1, 20))
            return ex.Accepted(self._venue.find(order) or _impossible(order))

        outcome, fault = await self._write(act, signed_at, order.symbol)
        self._desk.ended(self._replica, order, fault)
        return outcome

    async def cancel(self, order: Order, *, signed_at: int) -> ex.RequestOutcome:
        """Cancel an order by its client order id."""

        def act() -> ex.RequestOutcome:
            self._desk.cancelling(order)
            found = self._venue.cancel(order)
            if isinstance(found, ex.Refused):
                return found
            self._desk.acted(self._faults.dice.randint(1, 20))
            return ex.Accepted(found)

        outcome, fault = await self._write(act, signed_at, order.symbol)
        self._desk.cancelled(self._replica, order, outcome, fault)
        return outcome

    async def set_leverage(self, symbol: str, leverage: int, *, signed_at: int) -> int:
        """Set a symbol's leverage, then read it back."""

        def act() -> ex.RequestOutcome:
            return self._venue.set_leverage(symbol, leverage) or ex.Unknown("done")

        await self._write(act, signed_at, symbol)
        return (await self._read(self._venue.leverages))[symbol]

    async def _write(
        self, act: Callable[[], ex.RequestOutcome], signed_at: int, symbol: str
    ) -> tuple[ex.RequestOutcome, str]:
        for attempt in (1, 2):
            stamped = signed_at + self._offset_ms
            outcome, fault = await self._travel(partial(self._checked, stamped, act), symbol)
            late = isinstance(outcome, ex.Refused) and outcome.code == CLOCK_CODE
            fresh = self._wall_ms() - signed_at < RECV_WINDOW_MS
            if not late or attempt == 2 or not fresh:
                return outcome, fault
            self._offset_ms = await self._network.ask(lambda: self._venue_ms() - self._wall_ms())
        raise AssertionError("unreachable")

    def _checked(self, stamped: int, act: Callable[[], ex.RequestOutcome]) -> ex.RequestOutcome:
        """Refuse what was signed too long ago, or in the future, by the venue's clock."""
        age = self._venue_ms() - stamped
        if not -AHEAD_MS <= age <= RECV_WINDOW_MS:
            return ex.Refused(CLOCK_CODE, f"signed {age} ms ago", retryable=True)
        return act()

    async def _travel(
        self, act: Callable[[], ex.RequestOutcome], symbol: str
    ) -> tuple[ex.RequestOutcome, str]:
        faults, network = self._faults, self._network
        if self._venue_away():
            await self._network.wait(0.05)
            return ex.Unknown("503 maintenance"), Fault.MAINTENANCE
        if symbol in self._lose_next:
            self._lose_next.discard(symbol)
            faults.counts[Fault.LOST_REPLY_TWICE] += 1
            return await self._lost(act, arrives=network.hop(), fault=Fault.LOST_REPLY_TWICE)
        if faults.strikes(Fault.LOST_REQUEST, 0.04):
            return await self._lost(None, arrives=0, fault=Fault.LOST_REQUEST)
        if faults.strikes(Fault.LOST_REPLY, 0.04):
            if faults.level(Fault.LOST_REPLY_TWICE) and faults.dice.random() < 0.4:
                self._lose_next.add(symbol)
            return await self._lost(act, arrives=network.hop(), fault=Fault.LOST_REPLY)
        if faults.strikes(Fault.LATE_ARRIVAL, 0.04):
            late = faults.stream(Fault.LATE_ARRIVAL).uniform(0.2, 1.7)
            return await self._lost(act, arrives=late, fault=Fault.LATE_ARRIVAL, quick=True)
        if faults.strikes(Fault.REFUSED, 0.05):
            await self._network.wait(network.hop())
            code = faults.stream(Fault.REFUSED).choice(_CODES)
            return ex.Refused(*code), Fault.REFUSED
        for kind in (Fault.SERVER_ERROR, Fault.UNPARSABLE):
            if faults.strikes(kind, 0.03):
                done = faults.stream(kind).random() < 0.5
                return await self._lost(
                    act if done else None, arrives=network.hop(), fault=kind, quick=True
                )
        return await network.ask(act), ""

    async def _lost(
        self,
        act: Callable[[], ex.RequestOutcome] | None,
        *,
        arrives: float,
        fault: Fault,
        quick: bool = False,
    ) -> tuple[ex.RequestOutcome, str]:
        """Nothing comes back; the request itself may arrive."""
        if act is not None:
            self._network.later(arrives, act)
        hang = 0.1 if quick else self._faults.stream(fault).choice((0.1, 0.1, CLIENT_TIMEOUT))
        await self._network.wait(hang)
        return ex.Unknown(fault.value), fault

    def _venue_away(self) -> bool:
        return self._network.loop.time() < self._away_until[0]

    async def idle(self, point: int) -> None:
        """Tell the venue that everything up to this point is handled."""
        self._network.later(self._network.hop(0.002), lambda: self._desk.answered(point))

    async def close(self) -> None:
        """Nothing is open."""

    def _wall_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)

    def _venue_ms(self) -> int:
        return int((EPOCH + timedelta(seconds=self._network.loop.time())).timestamp() * 1000)


def _impossible(order: Order) -> ex.OrderReport:
    raise AssertionError(f"{order.client_order_id} was taken and is not known")
