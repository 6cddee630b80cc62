"""Over real sockets: limits are kept before the exchange has to say so, and exits stay possible."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from decimal import Decimal

import pytest
from aiohttp import web

from services.exec_risk.core.exchange_events import Accepted, Refused
from services.exec_risk.exchange.binance import BinanceExchange
from services.exec_risk.exchange.meter import PrometheusMeter
from services.exec_risk.exchange.requests import ExchangeUnavailable
from services.kit.clock import SystemClock
from services.kit.observe.metrics import Metrics
from services.trade.order import OrderPurpose, OrderType, Side
from tests.integration.exchange.scripted_exchange import Handler, scripted
from tests.integration.exchange.test_exchange_outcomes import ENTRY, client, now_ms, settings
from tests.integration.exchange.test_exchange_sockets import listening
from tests.support.eventually import eventually

EXIT = replace(ENTRY, client_order_id="qtx0-abc", purpose=OrderPurpose.EXIT, side=Side.SELL)
STOP = replace(
    EXIT, purpose=OrderPurpose.STOP_LOSS, type=OrderType.STOP_MARKET, trigger_price=Decimal(9)
)


def pushing_back(status: int, seconds: int | None = None, body: str = "{}") -> Handler:
    headers = {} if seconds is None else {"Retry-After": str(seconds)}

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, text=body, headers=headers)

    return answer


async def mid_window(length_ms: int) -> None:
    """Wait until a window of the limits does not end within this test."""
    while now_ms() % length_ms > length_ms - 2_500:
        await asyncio.sleep(0.1)


async def test_reads_end_where_the_share_of_exits_begins() -> None:
    """The count in the answers decides: others use the address too."""
    await mid_window(60_000)
    async with scripted() as server, client(server) as exchange:
        server.headers = {"X-MBX-USED-WEIGHT-1M": "1799"}
        assert await exchange.history("BTCUSDT", "1m", 1) == []
        asked = len(server.asked)
        with pytest.raises(ExchangeUnavailable, match="rate_limited"):
            await exchange.history("BTCUSDT", "1m", 900)
        with pytest.raises(ExchangeUnavailable, match="rate_limited"):
            await exchange.snapshot(now_ms())
        assert len(server.asked) == asked
        # a cancel and the question what became of an order use the kept share
        assert await exchange.find(EXIT) is None
        await exchange.cancel(EXIT, signed_at=now_ms())
        assert server.count("DELETE", "order") == 1


async def test_entries_end_where_the_share_of_exits_begins() -> None:
    await mid_window(10_000)
    async with scripted() as server, client(server) as exchange:
        server.headers = {"X-MBX-ORDER-COUNT-10S": "225", "X-MBX-ORDER-COUNT-1M": "225"}
        assert isinstance(await exchange.place(ENTRY, signed_at=now_ms()), Accepted)
        second = replace(ENTRY, client_order_id="qte0-second")
        outcome = await exchange.place(second, signed_at=now_ms())
        assert isinstance(outcome, Refused)
        assert (outcome.code, outcome.retryable) == ("rate_limited", True)
        assert server.count("POST", "order") == 1
        assert isinstance(await exchange.place(EXIT, signed_at=now_ms()), Accepted)


async def test_limits_are_those_of_exchange_info() -> None:
    await mid_window(10_000)
    async with scripted() as server, client(server) as exchange:
        server.rate_limits = [
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 4}
        ]
        await exchange.filters()
        outcomes = []
        for number in range(4):
            order = replace(ENTRY, client_order_id=f"qte0-{number}")
            outcomes.append(await exchange.place(order, signed_at=now_ms()))
        assert [type(o) for o in outcomes] == [Accepted] * 3 + [Refused]
        assert isinstance(await exchange.place(EXIT, signed_at=now_ms()), Accepted)


async def test_an_entry_waits_where_its_signature_lasts_long_enough() -> None:
    async with scripted() as server, client(server) as exchange:
        server.script["GET", "klines"] = pushing_back(429, 1)
        with pytest.raises(ExchangeUnavailable):
            await exchange.history("BTCUSDT", "1m", 1)
        began = time.monotonic()
        assert isinstance(await exchange.place(ENTRY, signed_at=now_ms()), Accepted)
        assert time.monotonic() - began > 0.8


async def test_429_stops_entries_and_reads_but_tries_exits() -> None:
    """429: what can wait waits; an exit is tried, but no longer fast once it was refused too."""
    metrics = Metrics("exec_risk_service")
    async with scripted() as server:
        exchange = BinanceExchange(
            settings(server.url), SystemClock(), meter=PrometheusMeter(metrics)
        )
        try:
            server.script["POST", "order"] = pushing_back(429, 30)
            first = await exchange.place(ENTRY, signed_at=now_ms())
            assert isinstance(first, Refused)
            assert first.retryable
            again = await exchange.place(ENTRY, signed_at=now_ms())
            assert again == Refused("rate_limited", again.message, True)  # type: ignore[union-attr]
            with pytest.raises(ExchangeUnavailable, match="rate_limited"):
                await exchange.history("BTCUSDT", "1m", 1)
            assert server.count("POST", "order") == 1
            await exchange.place(EXIT, signed_at=now_ms())
            assert server.count("POST", "order") == 2
            began = time.monotonic()
            await exchange.place(EXIT, signed_at=now_ms())
            assert server.count("POST", "order") == 3
            assert time.monotonic() - began > 0.8
            server.script.clear()
            assert isinstance(await exchange.place(EXIT, signed_at=now_ms()), Accepted)
        finally:
            await exchange.close()
        prefix = "exec_risk_service_exchange_"
        read = metrics.registry.get_sample_value
        assert read(f"{prefix}pushbacks_total", {"status": "429"}) == 3
        assert read(f"{prefix}limit_refused_total", {"use": "entry"}) == 1
        assert read(f"{prefix}limit_refused_total", {"use": "read"}) == 1
        assert read(f"{prefix}limit_waits_total", {"use": "exit"}) >= 1  # type: ignore[operator]


@pytest.mark.parametrize("told_by", ["header", "text"])
async def test_a_ban_silences_everything_until_it_ends(told_by: str) -> None:
    """418: no order, no read, no probe, no listen key, no socket; then everything comes back."""
    async with scripted() as server, listening(server) as listener:
        exchange = listener.exchange
        until = now_ms() + 3_000
        body = f'{{"code":-1003,"msg":"Way too many requests; IP banned until {until}."}}'
        server.script["GET", "klines"] = (
            pushing_back(418, 3) if told_by == "header" else pushing_back(418, None, body)
        )
        with pytest.raises(ExchangeUnavailable):
            await exchange.history("BTCUSDT", "1m", 1)
        server.script.clear()
        assert not exchange.connected
        assert "418" in exchange.down_reason
        for stream in ("user", "market"):
            for socket in list(server.sockets[stream]):
                await socket.close(code=1001)
        await asyncio.sleep(0.2)
        asked, sockets = len(server.asked), server.opened
        for order in (ENTRY, EXIT, STOP):
            outcome = await exchange.place(order, signed_at=now_ms())
            assert isinstance(outcome, Refused)
            assert outcome.retryable
        with pytest.raises(ExchangeUnavailable, match="banned"):
            await exchange.find(EXIT)
        await asyncio.sleep(1.0)
        assert len(server.asked) == asked
        assert server.opened == sockets
        await eventually(lambda: exchange.connected, 15)
        assert isinstance(await exchange.place(EXIT, signed_at=now_ms()), Accepted)
