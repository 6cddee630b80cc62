"""A small exchange with seeded faults, a quick clock and a lease for the shell's tests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from services.exec_risk.core import exchange_events as ex
from services.trade.candle import Candle
from services.trade.filters import SymbolFilters
from services.trade.order import Fill, Order, OrderPurpose, OrderState, OrderType, TimeInForce
from tests.unit.exec_risk.account_desk import MINUTE, START, SYMBOLS, fill_of, filters_of, report

D = Decimal
SPEED = 40
_AT_ONCE = (TimeInForce.IOC, TimeInForce.FOK)


class QuickClock:
    """Wall time that passes SPEED times as fast."""

    def now(self) -> datetime:
        """Return a wall time that moves with the loop."""
        return datetime.fromtimestamp(1_700_000_000 + self.monotonic(), UTC)

    def monotonic(self) -> float:
        """Return quick seconds."""
        return asyncio.get_running_loop().time() * SPEED

    async def sleep(self, seconds: float) -> None:
        """Sleep quick seconds."""
        await asyncio.sleep(seconds / SPEED)


class SimulatedExchange:
    """Binance's rules in small: market orders fill at the next step, stops rest."""

    connected = True
    tells_points = False

    def __init__(self, dice: random.Random, *, faults: float) -> None:
        self.dice, self.faults = dice, faults
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.held = dict.fromkeys(SYMBOLS, D(0))
        self.prices = dict.fromkeys(SYMBOLS, D(100))
        self.wallet, self.time, self.number, self.idle_at = D(10_000), START, 0, -1
        self.inbox: asyncio.Queue[ex.ExchangeEvent] = asyncio.Queue()
        self.accepted_twice: list[Order] = []
        self.uncommitted: list[Order] = []
        self.lockstep = True
        self.still = False
        """True: prices do not move."""
        self.is_stored: Callable[[str], bool] = lambda _: True
        self._late: set[asyncio.Task[None]] = set()

    async def filters(self) -> dict[str, SymbolFilters]:
        """Plain filters."""
        return {s: filters_of(s) for s in SYMBOLS}

    async def history(self, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        """There is none."""
        return []

    async def snapshot(self, since: int) -> ex.ExchangeSnapshot:
        """Read everything at once."""
        await asyncio.sleep(0)
        positions = tuple(
            ex.ExchangePosition(s, q, self.prices[s], self.prices[s], D(0))
            for s, q in self.held.items()
            if q
        )
        resting = tuple(self._report(o) for o in self.orders.values() if not o.state.final)
        account = ex.AccountReport(self.wallet, self.wallet, self.time, positions)
        fills = tuple(f for f in self.fills if f.time >= since)
        return ex.ExchangeSnapshot(account, resting, fills, leverage=dict.fromkeys(SYMBOLS, 5))

    async def place(self, order: Order, *, signed_at: int) -> ex.RequestOutcome:
        """Take an order; the request or the reply may be lost, or the request be late."""
        # by this clock a stall of the machine is an outage of the store, and what reduces goes on
        if not order.reduce_only and not self.is_stored(order.client_order_id):
            self.uncommitted.append(order)
        await asyncio.sleep(self.dice.random() / SPEED / 4)
        if self.dice.random() < self.faults:
            if self.dice.random() < 0.5:
                late = asyncio.create_task(self._arrive_late(order))
                self._late.add(late)
                late.add_done_callback(self._late.discard)
            return ex.Unknown("request lost")
        if not self._take(order):
            return ex.Refused("-4116", "ClientOrderId is duplicated.")
        await asyncio.sleep(self.dice.random() / SPEED / 4)
        if self.dice.random() < self.faults:
            return ex.Unknown("reply lost")
        return ex.Accepted(self._report(self.orders[order.client_order_id]))

    async def _arrive_late(self, order: Order) -> None:
        """Come within the recvWindow, after the sender has given up waiting."""
        await asyncio.sleep(1.0 / SPEED)
        self._take(order)

    def _take(self, order: Order) -> bool:
        """Refuse a repeated id only among open orders, as Binance does."""
        known = self.orders.get(order.client_order_id)
        if known is not None:
            if order.type is OrderType.STOP_MARKET and not known.state.final:
                return False  # a stop cannot wait for the proof that it did not arrive
            self.accepted_twice.append(order)
            if not known.state.final:
                return False
        self.orders[order.client_order_id] = replace(order, state=OrderState.ACCEPTED)
        return True

    async def cancel(self, order: Order, *, signed_at: int) -> ex.RequestOutcome:
        """Cancel a resting order."""
        await asyncio.sleep(0)
        found = self.orders.get(order.client_order_id)
        if found is None or found.state.final:
            return ex.Refused("-2011", "unknown order")
        self.orders[found.client_order_id] = replace(found, state=OrderState.CANCELED)
        if self.dice.random() < self.faults:
            return ex.Unknown("reply lost")
        return ex.Accepted(self._report(self.orders[found.client_order_id]))

    async def find(self, order: Order) -> ex.OrderReport | None:
        """Look an order up."""
        await asyncio.sleep(0)
        if self.dice.random() < self.faults:
            raise ConnectionError("lost")
        found = self.orders.get(order.client_order_id)
        return None if found is None else self._report(found)

    async def set_leverage(self, symbol: str, leverage: int, *, signed_at: int) -> int:
        """Always right."""
        return leverage

    async def events(self) -> AsyncIterator[ex.ExchangeEvent]:
        """Hand out what was told."""
        while True:
            yield await self.inbox.get()

    async def idle(self, point: int) -> None:
        """Let the driver move on."""
        self.idle_at = max(self.idle_at, point)

    async def close(self) -> None:
        """Nothing is open."""

    def step(self, *, close: bool) -> ex.PointReached:
        """Move the market one point: prices, fills, then the candle and the point."""
        self.number += 1
        self.time += MINUTE if close else 0
        for symbol in SYMBOLS:
            move = D(0) if self.still else D(self.dice.randint(-60, 60)) / 100
            self.prices[symbol] = max(self.prices[symbol] + (move if close else 0), D(50))
        for order in list(self.orders.values()):
            if not order.state.final and self._fires(order):
                self._execute(order)
            elif not order.state.final and order.time_in_force in _AT_ONCE:
                self.orders[order.client_order_id] = replace(order, state=OrderState.EXPIRED)
                self.inbox.put_nowait(self._report(self.orders[order.client_order_id]))
        closed = SYMBOLS if close else ()
        for symbol in closed:
            p = self.prices[symbol]
            candle = Candle("paper", symbol, "1m", self.time - MINUTE, p, p, p, p, D(1))
            self.inbox.put_nowait(ex.CandleClosed(candle))
        point = ex.PointReached(self.number, self.time, closed, self.lockstep)
        self.inbox.put_nowait(point)
        return point

    def _fires(self, order: Order) -> bool:
        if order.type is OrderType.MARKET:
            return True
        if order.type is OrderType.LIMIT:
            assert order.price is not None
            return (order.price - self.prices[order.symbol]) * order.side.sign >= 0
        assert order.trigger_price is not None
        distance = (self.prices[order.symbol] - order.trigger_price) * order.side.sign
        return distance >= 0 if order.type is OrderType.STOP_MARKET else distance <= 0

    def _execute(self, order: Order) -> None:
        held, quantity = self.held[order.symbol], order.quantity
        if order.reduce_only:
            room = abs(held) if held * order.side.sign < 0 else D(0)
            quantity = min(quantity, room)
        if not quantity:
            done = replace(order, state=OrderState.EXPIRED)
            self.orders[order.client_order_id] = done
            self.inbox.put_nowait(self._report(done))
            return
        number = str(len(self.fills) + 1)
        fill = fill_of(order, quantity, self.prices[order.symbol], number, self.time, D(0))
        self.fills.append(fill)
        self.held[order.symbol] += quantity * order.side.sign
        self.wallet -= fill.commission
        done = replace(
            order, state=OrderState.FILLED, filled_quantity=quantity, filled_cost=fill.price
        )
        self.orders[order.client_order_id] = done
        told: list[ex.ExchangeEvent] = [ex.FillReport(fill), self._report(done)]
        if self.dice.random() < self.faults:
            told = [*told, *told][:: self.dice.choice((1, -1))]
        for event in told:
            self.inbox.put_nowait(event)

    def _report(self, order: Order) -> ex.OrderReport:
        return replace(report(order, order.state), time=self.time)

    def live_entries(self) -> dict[str, int]:
        """Count accepted entry orders that were not refused, by signal."""
        counts: dict[str, int] = {}
        for order in self.orders.values():
            if order.purpose is OrderPurpose.ENTRY:
                counts[order.signal_id] = counts.get(order.signal_id, 0) + 1
        return counts


class NoCandles:
    """The seam `CandleSink`: nobody listens."""

    async def publish(self, candles: Sequence[Candle], *, history: bool) -> None:
        """Drop them."""


class SoleLease:
    """The seam `Leadership`: always ours."""

    held = True

    async def wait(self) -> None:
        """At once."""

    async def keep(self, on_lost: Callable[[], None]) -> None:
        """For ever."""
        await asyncio.Event().wait()

    async def release(self) -> None:
        """Nothing to give back."""
