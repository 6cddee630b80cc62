"""On the real paper venue, step by step: the life of a position, and the venue's death."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from services.ctl.servers.free import free_port
from services.exec_risk.core.exchange_events import (
    Accepted,
    CandleClosed,
    ExchangeEvent,
    FillReport,
    OrderReport,
    PointReached,
    Refused,
    StreamStateChanged,
    WalletReport,
)
from services.exec_risk.exchange.binance import BinanceExchange
from services.exec_risk.exchange.settings import ExchangeSettings
from services.kit.clock import SystemClock
from services.trade.ids import client_order_id
from services.trade.order import Fill, Order, OrderPurpose, OrderState, OrderType, Side
from services.venue.app import start_venue
from services.venue.settings import VenueSettings
from tests.support.eventually import eventually


def settings(url: str, *symbols: str) -> ExchangeSettings:
    return ExchangeSettings(
        venue="paper",
        timeframe="1m",
        url=url,
        symbols=symbols,
        api_key="paper-key",
        api_secret="paper-secret",
        probe_seconds=1.0,
    )


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Trader:
    """Answers every point, keeps every event, and lets a test act at each point."""

    def __init__(self, exchange: BinanceExchange) -> None:
        self.exchange = exchange
        self.events: list[ExchangeEvent] = []
        self.acts: dict[int, Callable[[], Awaitable[None]]] = {}
        self.points: list[int] = []
        self.hold = False
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for event in self.exchange.events():
            self.events.append(event)
            if not isinstance(event, PointReached):
                continue
            self.points.append(event.number)
            act = self.acts.pop(event.number, None)
            if act is not None:
                await act()
            if not self.hold:
                await self.exchange.idle(event.number)

    async def at(self, number: int) -> None:
        """Wait until a point was handed out."""

        def reached() -> bool:
            if self._task.done():
                self._task.result()
            return bool(self.points) and self.points[-1] >= number

        await eventually(reached, 30, 0.01)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def fills(self) -> list[Fill]:
        return [e.fill for e in self.events if isinstance(e, FillReport)]

    def reports(self, client_id: str) -> list[OrderReport]:
        told = [e for e in self.events if isinstance(e, OrderReport)]
        return [r for r in told if r.client_order_id == client_id]


@asynccontextmanager
async def trading(url: str, *symbols: str) -> AsyncIterator[Trader]:
    exchange = BinanceExchange(settings(url, *symbols), SystemClock())
    await exchange.start()
    trader = Trader(exchange)
    try:
        yield trader
    finally:
        await trader.stop()
        await exchange.close()


def order(leg: str, kind: OrderType, side: Side, quantity: Decimal, symbol: str) -> Order:
    purposes = {
        "entry": OrderPurpose.ENTRY,
        "stop": OrderPurpose.STOP_LOSS,
        "target": OrderPurpose.TAKE_PROFIT,
        "exit": OrderPurpose.EXIT,
    }
    return Order(
        client_order_id=client_order_id("main", "sig-test", leg),
        account="main",
        symbol=symbol,
        side=side,
        type=kind,
        purpose=purposes[leg],
        quantity=quantity,
        decided_time=0,
    )


async def test_life_of_a_position() -> None:
    """Entry, stop and target, exit, all by steps; the stream's fills are the venue's trades."""
    async with (
        start_venue(VenueSettings(venue_speed=0)) as venue,
        trading(venue.url, "BTCUSDT", "ETHUSDT") as trader,
    ):
        exchange = trader.exchange
        filters = (await exchange.filters())["BTCUSDT"]
        quantity = max(filters.min_quantity, filters.ceil_quantity(Decimal("0.01")))
        entry = order("entry", OrderType.MARKET, Side.BUY, quantity, "BTCUSDT")
        outcomes: dict[str, object] = {}

        async def enter() -> None:
            assert await exchange.set_leverage("BTCUSDT", 5) == 5
            outcomes["entry"] = await exchange.place(entry, signed_at=now_ms())

        async def protect() -> None:
            (fill,) = [f for f in trader.fills() if f.client_order_id == entry.client_order_id][-1:]
            for leg, kind, share in (
                ("stop", OrderType.STOP_MARKET, "0.5"),
                ("target", OrderType.TAKE_PROFIT_MARKET, "1.5"),
            ):
                trigger = filters.floor_price(fill.price * Decimal(share))
                sent = order(leg, kind, Side.SELL, quantity, "BTCUSDT")
                sent = replace(sent, trigger_price=trigger)
                outcomes[leg] = await exchange.place(sent, signed_at=now_ms())

        async def leave() -> None:
            stop = order("stop", OrderType.STOP_MARKET, Side.SELL, quantity, "BTCUSDT")
            found = await exchange.find(stop)
            assert found is not None
            assert found.conditional
            outcomes["cancel"] = await exchange.cancel(stop)
            exit_order = order("exit", OrderType.MARKET, Side.SELL, quantity, "BTCUSDT")
            outcomes["exit"] = await exchange.place(exit_order, signed_at=now_ms())

        trader.acts = {4: enter, 8: protect, 12: leave}
        await trader.at(24)
        trader.hold = True
        await asyncio.sleep(0.2)
        assert all(isinstance(o, Accepted) for o in outcomes.values()), outcomes
        assert trader.points == list(range(trader.points[0], trader.points[-1] + 1))

        sides = [f.side for f in trader.fills()]
        assert sum(f.quantity for f in trader.fills() if f.side is Side.BUY) == quantity
        assert sum(f.quantity for f in trader.fills() if f.side is Side.SELL) == quantity
        assert sides == sorted(sides, key=lambda s: s is Side.SELL)
        entry_reports = trader.reports(entry.client_order_id)
        assert entry_reports[0].state is OrderState.ACCEPTED
        assert entry_reports[-1].state is OrderState.FILLED
        stop_id = client_order_id("main", "sig-test", "stop")
        assert trader.reports(stop_id)[-1].state is OrderState.CANCELED

        snapshot = await exchange.snapshot(0)
        assert list(snapshot.fills) == trader.fills()
        assert snapshot.account.positions == ()
        wallets = [e for e in trader.events if isinstance(e, WalletReport)]
        assert snapshot.account.wallet_balance == wallets[-1].wallet_balance
        target = client_order_id("main", "sig-test", "target")
        assert [o.client_order_id for o in snapshot.open_orders] == [target]
        assert snapshot.leverage["BTCUSDT"] == 5

        candles = [e.candle for e in trader.events if isinstance(e, CandleClosed)]
        assert len(candles) >= 10
        history = await exchange.history("BTCUSDT", "1m", 400)
        told = [c for c in candles if c.symbol == "BTCUSDT"]
        assert history[-len(told) :] == told
        assert len(history) == 400


async def test_stop_that_fires_is_told_under_its_own_id() -> None:
    async with (
        start_venue(VenueSettings(venue_speed=0)) as venue,
        trading(venue.url, "BTCUSDT") as trader,
    ):
        exchange = trader.exchange
        filters = (await exchange.filters())["BTCUSDT"]
        quantity = filters.ceil_quantity(Decimal("0.02"))
        stop_id = client_order_id("main", "sig-test", "stop")

        async def enter() -> None:
            entry = order("entry", OrderType.MARKET, Side.BUY, quantity, "BTCUSDT")
            assert isinstance(await exchange.place(entry, signed_at=now_ms()), Accepted)

        async def protect() -> None:
            price = trader.fills()[-1].price
            stop = order("stop", OrderType.STOP_MARKET, Side.SELL, quantity, "BTCUSDT")
            trigger = filters.floor_price(price * Decimal("0.9995"))
            placed = replace(stop, trigger_price=trigger)
            outcome = await exchange.place(placed, signed_at=now_ms())
            # a price that is through already is refused by name, and tried lower
            if isinstance(outcome, Refused):
                assert outcome.code == "-2021"
                placed = replace(stop, trigger_price=filters.floor_price(price * Decimal("0.995")))
                outcome = await exchange.place(placed, signed_at=now_ms())
            assert isinstance(outcome, Accepted), outcome

        trader.acts = {4: enter, 8: protect}

        def ended() -> bool:
            reports = trader.reports(stop_id)
            return bool(reports) and reports[-1].state is OrderState.FILLED

        await eventually(ended, 40)
        trader.hold = True
        await asyncio.sleep(0.2)
        stopped = [f for f in trader.fills() if f.client_order_id == stop_id]
        assert sum(f.quantity for f in stopped) == quantity
        report = await exchange.find(
            order("stop", OrderType.STOP_MARKET, Side.SELL, quantity, "BTCUSDT")
        )
        assert report is not None
        assert (report.state, report.filled_quantity) == (OrderState.FILLED, quantity)
        assert report.trigger_price is not None
        assert list((await exchange.snapshot(0)).fills) == trader.fills()


async def test_refusals_keep_their_code() -> None:
    """Incidents 38 and 48: precision and margin come back under Binance's own codes."""
    async with (
        start_venue(VenueSettings(venue_speed=0)) as venue,
        trading(venue.url, "BTCUSDT") as trader,
    ):
        trader.hold = True
        await trader.at(0)
        await asyncio.sleep(0.1)
        exchange = trader.exchange

        async def code(quantity: str, leg: str = "entry") -> str:
            sent = order(leg, OrderType.MARKET, Side.BUY, Decimal(quantity), "BTCUSDT")
            outcome = await exchange.place(sent, signed_at=now_ms())
            assert isinstance(outcome, Refused), outcome
            assert not outcome.retryable
            return outcome.code

        assert await code("0.0123456789") in ("-1111", "-1013")
        assert await code("100") == "-2019"
        late = order("entry", OrderType.MARKET, Side.BUY, Decimal("0.01"), "BTCUSDT")
        outcome = await exchange.place(late, signed_at=now_ms() - 4_000)
        assert isinstance(outcome, Refused)
        assert outcome.code == "-1021"
        assert await exchange.find(late) is None


async def start_process(port: int, journal: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.venue",
        env={
            **os.environ,
            "VENUE_LISTEN": f"127.0.0.1:{port}",
            "VENUE_SPEED": "2",
            "VENUE_JOURNAL": str(journal),
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


@pytest.mark.timeout(120)
async def test_killed_venue_comes_back_and_the_market_goes_on(tmp_path: Path) -> None:
    """The client sees it within 15 s, connects again, and no point is skipped or told twice."""
    port = free_port()
    venue = await start_process(port, tmp_path / "venue.sqlite")
    exchange = BinanceExchange(settings(f"http://127.0.0.1:{port}", "BTCUSDT"), SystemClock())
    await _start_when_up(exchange)
    trader = Trader(exchange)
    try:
        await trader.at(6)
        venue.send_signal(signal.SIGKILL)
        await venue.wait()
        await eventually(lambda: not exchange.connected, 15)
        lost = len(trader.points)
        venue = await start_process(port, tmp_path / "venue.sqlite")
        await eventually(lambda: exchange.connected, 20)
        await trader.at(trader.points[lost - 1] + 6)
        assert trader.points == list(range(trader.points[0], trader.points[-1] + 1))
        ups = [e for e in trader.events if isinstance(e, StreamStateChanged) and e.up]
        assert {e.stream for e in ups[2:]} == {"user", "market"}
        told = [e.candle for e in trader.events if isinstance(e, CandleClosed)]
        assert [c.open_time for c in told] == sorted({c.open_time for c in told})
    finally:
        await trader.stop()
        await exchange.close()
        if venue.returncode is None:
            venue.terminate()
        await venue.wait()


async def _start_when_up(exchange: BinanceExchange) -> None:
    from services.exec_risk.exchange.requests import ExchangeUnavailable

    for _ in range(100):
        try:
            await exchange.start()
        except ExchangeUnavailable:
            await asyncio.sleep(0.2)
        else:
            return
    raise AssertionError("the venue did not come up")
