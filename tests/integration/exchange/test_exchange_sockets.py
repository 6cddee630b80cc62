"""Over real sockets: events come in one order, sockets come back, points wait for events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from aiohttp import web

from services.exec_risk.core.exchange_events import (
    CandleClosed,
    ExchangeEvent,
    PointReached,
    PriceReport,
    StreamStateChanged,
    SymbolsListed,
    WalletReport,
)
from services.exec_risk.exchange.binance import BinanceExchange
from services.kit.clock import SystemClock
from tests.integration.exchange.scripted_exchange import (
    ScriptedExchange,
    error,
    scripted,
    symbol_info,
)
from tests.integration.exchange.test_exchange_outcomes import settings
from tests.support.eventually import eventually


class Listener:
    """Reads the events of a client into a list."""

    def __init__(self, exchange: BinanceExchange) -> None:
        self.exchange = exchange
        self.events: list[ExchangeEvent] = []
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self.exchange.events():
            self.events.append(event)

    async def stop(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def plain(self) -> list[ExchangeEvent]:
        return [e for e in self.events if not isinstance(e, StreamStateChanged)]

    def states(self, stream: str) -> list[bool]:
        """Ups and downs of a stream, once it is up again."""
        told = [e for e in self.events if isinstance(e, StreamStateChanged)]
        states = [e.up for e in told if e.stream == stream]
        return states if True in states else []

    async def until(
        self, check: Callable[[list[ExchangeEvent]], bool], deadline: float = 8
    ) -> None:
        await eventually(lambda: check(self.events), deadline, 0.01)


@asynccontextmanager
async def listening(server: ScriptedExchange, **changes: Any) -> AsyncIterator[Listener]:
    exchange = BinanceExchange(replace(settings(server.url), **changes), SystemClock())
    await exchange.start()
    listener = Listener(exchange)
    await eventually(lambda: len(server.sockets["paper"]) == 1)
    try:
        yield listener
    finally:
        await listener.stop()
        await exchange.close()


def wallet(step: int, balance: str) -> dict[str, Any]:
    change = {"m": "ORDER", "B": [{"a": "USDT", "wb": balance}]}
    return {"e": "ACCOUNT_UPDATE", "E": 1, "T": step * 60_000, "a": change, "pn": step}


def kline(step: int, symbol: str) -> dict[str, Any]:
    k = {
        "t": (step - 1) * 60_000, "s": symbol, "i": "1m", "o": "1.10", "h": "1.20", "l": "1.00",
        "c": "1.10", "v": "3", "x": True,
    }  # fmt: skip
    return {"e": "kline", "E": 1, "s": symbol, "k": k, "pn": step}


def names(events: list[ExchangeEvent]) -> list[str]:
    return [
        f"{e.candle.symbol}" if isinstance(e, CandleClosed) else type(e).__name__ for e in events
    ]


async def test_events_of_a_step_come_before_its_point() -> None:
    async with scripted() as server, listening(server) as listener:
        assert listener.exchange.connected
        await server.step(1, user=2, klines=["ETHUSDT", "BTCUSDT"])
        for event in (wallet(1, "5"), wallet(1, "6")):
            await server.send("user", event)
        for symbol in ("ETHUSDT", "BTCUSDT"):
            await server.send("market", kline(1, symbol))
        await listener.until(lambda es: any(isinstance(e, PointReached) for e in es))
        assert names(listener.plain()) == [
            "WalletReport", "WalletReport", "BTCUSDT", "ETHUSDT", "PointReached",
        ]  # fmt: skip
        await listener.exchange.idle(1)
        await eventually(lambda: server.idle == [1])


async def test_fifty_candles_in_one_burst_all_come() -> None:
    """ccxt's own call delivered one of fifty simultaneous closes."""
    async with scripted() as server, listening(server) as listener:
        for step in range(1, 26):
            for symbol in ("BTCUSDT", "ETHUSDT"):
                await server.send("market", kline(step, symbol))
            await server.step(step, user=0, klines=["BTCUSDT", "ETHUSDT"])
        await listener.until(lambda es: sum(isinstance(e, PointReached) for e in es) == 25)
        assert sum(isinstance(e, CandleClosed) for e in listener.events) == 50


async def test_missing_events_call_for_reconciliation_and_the_candle_is_read() -> None:
    async with scripted() as server, listening(server) as listener:

        async def klines(_request: web.Request) -> web.Response:
            return web.json_response([[0, "1", "2", "1", "2", "5", 59_999, "0", 1, "0", "0", "0"]])

        server.script["GET", "klines"] = klines
        await server.step(1, user=1, klines=["BTCUSDT"])
        await listener.until(lambda es: any(isinstance(e, PointReached) for e in es))
        assert names(listener.events[-3:]) == ["StreamStateChanged", "BTCUSDT", "PointReached"]


async def test_lost_sockets_come_back_and_say_so() -> None:
    async with scripted() as server, listening(server) as listener:
        subscriptions = len(server.subscribed)
        for stream in ("user", "market"):
            listener.events.clear()
            (socket,) = server.sockets[stream]
            await socket.close(code=1001)
            await eventually(partial(listener.states, stream), 8, 0.01)
            assert listener.states(stream)[:2] == [False, True]
        assert len(server.subscribed) == subscriptions + 1
        assert server.subscribed[-1] == ["btcusdt@kline_1m", "ethusdt@kline_1m"]
        assert server.listen_keys >= 2
        await eventually(lambda: listener.exchange.connected)


async def test_expired_listen_key_is_replaced() -> None:
    async with scripted() as server, listening(server) as listener:
        keys = server.listen_keys
        await server.send("user", {"e": "listenKeyExpired", "E": 1, "listenKey": "key1"})
        await eventually(lambda: server.listen_keys > keys and listener.exchange.connected)
        await server.send("user", wallet(0, "7"))
        await listener.until(lambda es: any(isinstance(e, WalletReport) for e in es))


async def test_unreadable_event_does_not_blind_the_socket() -> None:
    async with scripted() as server, listening(server) as listener:
        await server.send("user", {"e": "ORDER_TRADE_UPDATE", "E": 1, "o": {"s": "BTCUSDT"}})
        await server.send("user", wallet(0, "7"))
        await listener.until(lambda es: any(isinstance(e, WalletReport) for e in es))
        assert any(getattr(e, "reason", "").startswith("unreadable") for e in listener.events)


async def test_killed_exchange_is_seen_and_its_return_too() -> None:
    """Incident 49 and the health contract: connected turns false within 15 s, and back."""
    async with scripted() as server, listening(server) as listener:
        await server.step(3, user=0, klines=[])
        await listener.until(lambda es: any(isinstance(e, PointReached) for e in es))
        await listener.exchange.idle(3)
        await eventually(lambda: server.idle == [3])
        await server.stop()
        await eventually(lambda: not listener.exchange.connected, 15)
        server.idle.clear()
        await server.start()
        await eventually(lambda: listener.exchange.connected, 15)
        # the same point is told again; it is answered again, but not handed out twice
        await eventually(lambda: 3 in server.idle)
        assert sum(isinstance(e, PointReached) for e in listener.events) == 1


async def test_requests_that_fail_make_it_disconnected() -> None:
    async with scripted() as server, listening(server) as listener:

        async def broken(_request: web.Request) -> web.Response:
            return error(503, -1001, "internal")

        server.script["GET", "time"] = broken
        await eventually(lambda: not listener.exchange.connected, 15)
        server.script.clear()
        await eventually(lambda: listener.exchange.connected, 15)


@pytest.mark.parametrize("stream", ["user", "market"])
async def test_a_socket_that_answers_no_ping_is_opened_again(stream: str) -> None:
    """Silence without a pong: the socket is open, and yet nobody is there."""
    async with scripted() as server, listening(server) as listener:
        server.mute.add(stream)
        (socket,) = server.sockets[stream]
        await socket.close(code=1001)
        await listener.until(lambda _: listener.states(stream)[-2:] == [False, True])
        server.mute.clear()
        listener.events.clear()
        (dead,) = server.sockets[stream]
        await listener.until(lambda _: listener.states(stream) == [False, True], 15)
        assert any("ping-pong" in getattr(e, "reason", "") for e in listener.events)
        await eventually(lambda: dead not in server.sockets[stream])


async def test_a_listen_key_is_renewed_in_time() -> None:
    async with scripted() as server, listening(server, listen_key_seconds=0.2):
        await eventually(lambda: server.count("PUT", "listenKey") >= 2)
        assert server.listen_keys == 1


async def test_a_listen_key_that_cannot_be_renewed_is_replaced() -> None:
    """-1125: the key is gone; nothing would be told any more, and no exception says so."""
    async with scripted() as server, listening(server, listen_key_seconds=0.3) as listener:

        async def gone(_request: web.Request) -> web.Response:
            return error(400, -1125, "This listenKey does not exist.")

        server.script["PUT", "listenKey"] = gone
        await eventually(lambda: server.listen_keys >= 2, 10)
        server.script.clear()
        await eventually(lambda: listener.exchange.connected)
        assert False in listener.states("user")


async def test_a_listen_key_that_is_refused_is_asked_for_again() -> None:
    """An answer without a key, or none, must not end the stream for good."""
    async with scripted() as server, listening(server) as listener:

        async def hollow(_request: web.Request) -> web.Response:
            return web.json_response({})

        server.script["POST", "listenKey"] = hollow
        (socket,) = server.sockets["user"]
        await socket.close(code=1001)
        await eventually(lambda: not listener.exchange.connected)
        assert listener.exchange.down_reason == "the user stream is down"
        server.script.clear()
        await eventually(lambda: listener.exchange.connected, 10)


async def test_new_listings_and_changed_filters_are_noticed() -> None:
    """Demo and live tell of no listing: exchangeInfo is read again now and then."""
    async with scripted() as server, listening(server, listing_seconds=0.3) as listener:
        changed = symbol_info("ETHUSDT")
        changed["filters"][0]["tickSize"] = "0.01"
        server.symbols = [server.symbols[0], changed, symbol_info("SOLUSDT")]
        await listener.until(lambda es: any(isinstance(e, SymbolsListed) for e in es))
        (listed,) = (e for e in listener.events if isinstance(e, SymbolsListed))
        assert sorted(listed.filters) == ["ETHUSDT", "SOLUSDT"]
        assert listed.filters["ETHUSDT"].tick_size == Decimal("0.01")
        await eventually(lambda: ["solusdt@kline_1m"] in server.subscribed)


async def test_prices_of_a_point_come_before_it_at_most_one_a_second() -> None:
    told = {"p": "100.5", "b": "100", "a": "101", "r": "0.0001", "T": 28_800_000}
    async with scripted() as server, listening(server) as listener:
        for number, time in ((1, 60_000), (2, 60_500), (3, 61_000)):
            point = {
                "e": "paperPoint", "n": number, "T": time, "user": 0, "klines": [],
                "prices": {"ETHUSDT": told, "BTCUSDT": told, "XRPUSDT": told},
            }  # fmt: skip
            await server.send("paper", point)
        await listener.until(lambda es: sum(isinstance(e, PointReached) for e in es) == 3)
        assert names(listener.plain()) == [
            "PriceReport", "PriceReport", "PointReached", "PointReached",
            "PriceReport", "PriceReport", "PointReached",
        ]  # fmt: skip
        first = next(e for e in listener.events if isinstance(e, PriceReport))
        assert first == PriceReport(
            "BTCUSDT", 60_000, Decimal("100.5"), Decimal(100), Decimal(101), Decimal("0.0001"),
            28_800_000,
        )  # fmt: skip
