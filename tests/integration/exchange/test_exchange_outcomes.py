"""Over real sockets: each way in which an answer can fail gives the outcome that it proves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal

import pytest
from aiohttp import web

from services.exec_risk.core.exchange_events import Accepted, Refused, Unknown
from services.exec_risk.exchange.binance import BinanceExchange
from services.exec_risk.exchange.requests import ExchangeRefused
from services.exec_risk.exchange.settings import ExchangeSettings
from services.exec_risk.seams import Exchange
from services.kit.clock import Clock, SystemClock
from services.trade.order import Order, OrderPurpose, OrderState, OrderType, Side
from tests.integration.exchange.scripted_exchange import (
    Handler,
    ScriptedExchange,
    cut_off,
    error,
    half_an_answer,
    scripted,
    symbol_info,
)
from tests.integration.exchange.shifted_clock import ShiftedClock

ENTRY = Order(
    client_order_id="qte0-abc",
    account="main",
    symbol="BTCUSDT",
    side=Side.BUY,
    type=OrderType.MARKET,
    purpose=OrderPurpose.ENTRY,
    quantity=Decimal("0.010"),
    decided_time=60_000,
)


def settings(url: str) -> ExchangeSettings:
    return ExchangeSettings(
        venue="paper",
        timeframe="1m",
        url=url,
        api_key="key",
        api_secret="secret",
        timeout_seconds=0.5,
        probe_seconds=1.0,
        step_wait_seconds=0.4,
    )


@asynccontextmanager
async def client(
    server: ScriptedExchange, clock: Clock | None = None
) -> AsyncIterator[BinanceExchange]:
    """Return a client that has not opened its streams: requests alone."""
    exchange = BinanceExchange(settings(server.url), clock or SystemClock())
    try:
        yield exchange
    finally:
        await exchange.close()


def seam(exchange: BinanceExchange) -> Exchange:
    """Hold the client to the Protocol that the shell is written against (checked by mypy)."""
    return exchange


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def saying(body: str, status: int = 200, content: str = "application/json") -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=body, status=status, content_type=content)

    return answer


async def slowly(_request: web.Request) -> web.Response:
    await asyncio.sleep(1.0)
    return web.Response(text="{}")


@pytest.mark.parametrize(
    "answer",
    [
        cut_off,
        half_an_answer,
        slowly,
        saying(""),
        saying("{}"),
        saying("[]"),
        saying("<html>welcome</html>", content="text/html"),
        saying('{"orderId": 1}'),
        saying("<html>bad gateway</html>", status=502, content="text/html"),
        saying("<html>unavailable</html>", status=503, content="text/html"),
        saying('{"code":-1000,"msg":"An unknown error occurred."}', status=500),
        saying('{"code":-1007,"msg":"Timeout waiting for response."}', status=408),
        saying('{"code":-4999,"msg":"Something new."}', status=500),
        saying('{"code":-4116,"msg":"ClientOrderId is duplicated."}', status=400),
        saying('{"code":-1008,"msg":"Request throttled by system-level protection."}', status=503),
    ],
)
async def test_unknown_and_sent_once(answer: Handler) -> None:
    """Incident 26: without proof the outcome is unknown, and the order is not sent again."""
    async with scripted() as server, client(server) as exchange:
        server.script["POST", "order"] = answer
        outcome = await exchange.place(ENTRY, signed_at=now_ms())
        assert isinstance(outcome, Unknown), outcome
        assert server.count("POST", "order") == 1


async def test_lost_reply_is_found_by_the_client_id() -> None:
    """Incident 26: the order that was accepted before the time-out is found by its own id."""
    async with scripted() as server, client(server) as exchange:

        async def accept_and_hang(request: web.Request) -> web.StreamResponse:
            server._accept({k: str(v) for k, v in (await request.post()).items()})
            return await cut_off(request)

        server.script["POST", "order"] = accept_and_hang
        assert isinstance(await exchange.place(ENTRY, signed_at=now_ms()), Unknown)
        report = await exchange.find(ENTRY)
        assert report is not None
        assert report.client_order_id == ENTRY.client_order_id
        other = replace(ENTRY, client_order_id="qte0-other")
        assert await exchange.find(other) is None


async def test_accepted() -> None:
    async with scripted() as server, client(server) as exchange:
        outcome = await seam(exchange).place(ENTRY, signed_at=now_ms())
        assert isinstance(outcome, Accepted)
        assert outcome.report.state is OrderState.ACCEPTED
        _, _, params = server.asked[-1]
        assert params["newClientOrderId"] == ENTRY.client_order_id
        assert params["recvWindow"] == "1500"
        assert params["quantity"] == "0.01"


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [(400, -2019, False), (400, -5022, False), (400, -2022, False), (400, -1111, False)],
)
async def test_refused_with_the_code_of_the_exchange(
    status: int, code: int, retryable: bool
) -> None:
    """Incidents 38 and 48: the code survives on a host that is not Binance's; no retry."""
    async with scripted() as server, client(server) as exchange:
        server.script["POST", "order"] = saying(f'{{"code":{code},"msg":"x"}}', status)
        outcome = await exchange.place(ENTRY, signed_at=now_ms())
        assert outcome == Refused(str(code), "x", retryable)
        assert server.count("POST", "order") == 1


async def test_an_order_without_its_price_is_not_sent() -> None:
    """Requests never raise, whatever they are asked to send."""
    async with scripted() as server, client(server) as exchange:
        outcome = await exchange.place(replace(ENTRY, type=OrderType.LIMIT), signed_at=now_ms())
        assert outcome == Refused("not_sent", "LIMIT order qte0-abc has no price")
        assert server.asked == []


async def test_refused_connection_was_never_sent() -> None:
    async with scripted() as server, client(server) as exchange:
        await server.stop()
        outcome = await exchange.place(ENTRY, signed_at=now_ms())
        assert isinstance(outcome, Refused)
        assert (outcome.code, outcome.retryable) == ("not_sent", True)


@pytest.mark.parametrize("skew", [3_000, -3_000])
async def test_clock_skew_is_cured_by_one_resync(skew: int) -> None:
    """Incident 46: skew of 3 s either way: one resync, then success."""
    async with scripted() as server, client(server) as exchange:
        server.clock_ahead_ms = skew
        assert isinstance(await exchange.place(ENTRY, signed_at=now_ms()), Accepted)
        assert server.count("POST", "order") == 2
        assert server.count("GET", "time") == 1
        second = replace(ENTRY, client_order_id="qte0-second")
        assert isinstance(await exchange.place(second, signed_at=now_ms()), Accepted)
        assert server.count("POST", "order") == 3


async def test_frozen_leader_is_refused_and_not_cured() -> None:
    """A request that was allowed too long ago stays refused: only a new fenced write helps."""
    async with scripted() as server, client(server) as exchange:
        outcome = await exchange.place(ENTRY, signed_at=now_ms() - 5_000)
        assert isinstance(outcome, Refused)
        assert (outcome.code, outcome.retryable) == ("-1021", True)
        assert server.count("POST", "order") == 1
        assert server.orders == {}


@pytest.mark.parametrize("resync_first", [False, True])
async def test_a_clock_that_was_set_back_does_not_revive_a_frozen_leader(
    resync_first: bool,
) -> None:
    """Incident 46: frozen for 10 s after its write, its wall clock set back by as much meanwhile:
    the write looks young, and a fresh offset would date it into the present."""
    clock = ShiftedClock()
    async with scripted() as server, client(server, clock) as exchange:
        await exchange._requests.probe()
        signed_at = clock.wall_ms()
        clock.passed += 10.0
        clock.set_by -= 10.0
        server.clock_ahead_ms += 10_000
        if resync_first:
            await exchange._requests.probe()
        outcome = await exchange.place(ENTRY, signed_at=signed_at)
        assert isinstance(outcome, Refused)
        assert (outcome.code, outcome.retryable) == ("-1021", True)
        assert server.orders == {}
        # what is written a window later is taken again
        clock.passed += 2.0
        server.clock_ahead_ms += 2_000
        await exchange._requests.probe()
        assert isinstance(await exchange.place(ENTRY, signed_at=clock.wall_ms()), Accepted)


async def test_the_key_is_proven_by_itself_when_nothing_else_is_signed() -> None:
    """Incidents 49 and 108: connected means that a signed request succeeded within 30 s."""
    clock = ShiftedClock()
    async with scripted() as server, client(server, clock) as exchange:
        await exchange._requests.probe()
        assert exchange._requests.answered
        signed = server.count("GET", "openOrders")
        await exchange._requests.probe()
        assert server.count("GET", "openOrders") == signed
        clock.passed += 11.0
        await exchange._requests.probe()
        assert server.count("GET", "openOrders") == signed + 1
        clock.passed += 31.0
        assert not exchange._requests.answered
        assert "signed" in exchange.down_reason
        server.script["GET", "openOrders"] = slowly
        await exchange._requests.probe()
        assert not exchange._requests.answered


async def test_a_refused_key_is_named_at_the_start() -> None:
    """Incident 49: what the exchange said is the reason, not a time-out."""
    async with scripted() as server, client(server) as exchange:
        server.script["GET", "openOrders"] = saying('{"code":-2015,"msg":"Invalid access"}', 401)
        with pytest.raises(ExchangeRefused, match="-2015 Invalid access"):
            await exchange.start()
        assert exchange.down_reason == "the API key is refused: -2015 Invalid access"


async def test_refused_keys_end_the_connection() -> None:
    """Incident 49: after three refused keys in a row the exchange is not connected."""
    async with scripted() as server, client(server) as exchange:
        await exchange._requests.probe()
        assert exchange._requests.answered
        for path in ("openOrders", "openAlgoOrders", "account"):
            server.script["GET", path] = saying('{"code":-2015,"msg":"key"}', 401)
        for _ in range(3):
            with pytest.raises(ExchangeRefused, match="-2015"):
                await exchange._snapshots.open_orders()
            # public, so it proves nothing about the key
            await exchange.history("BTCUSDT", "1m", 1)
        assert not exchange._requests.answered
        await exchange._requests.probe()
        assert not exchange._requests.answered
        server.script.clear()
        await exchange._requests.probe()
        assert exchange._requests.answered


async def test_leverage_is_what_the_read_back_says() -> None:
    """Incident 33: the answer to the change is not believed."""
    async with scripted() as server, client(server) as exchange:
        assert await exchange.set_leverage("BTCUSDT", 5) == 20


async def test_one_odd_symbol_does_not_reject_the_rest() -> None:
    """Incident 54: an odd symbol is left out, the others trade."""
    async with scripted() as server, client(server) as exchange:
        broken = symbol_info("XRPUSDT") | {"filters": []}
        server.symbols = [symbol_info("币安人生USDT"), broken, *server.symbols]
        assert sorted(await exchange.filters()) == ["BTCUSDT", "ETHUSDT"]


HELD = {Side.SELL: "LONG", Side.BUY: "SHORT"}


@pytest.mark.parametrize("hedge", [False, True], ids=["one_way", "hedge"])
@pytest.mark.parametrize("purpose", [OrderPurpose.ENTRY, OrderPurpose.EXIT], ids=["open", "close"])
@pytest.mark.parametrize("side", list(Side))
async def test_position_mode_matrix(hedge: bool, purpose: OrderPurpose, side: Side) -> None:
    """Incidents 9, 31, 32: what the exchange is really sent, by its own position mode."""
    async with scripted() as server, client(server) as exchange:
        server.hedge = hedge
        await exchange._account.check()
        order = replace(ENTRY, purpose=purpose, side=side)
        outcome = await exchange.place(order, signed_at=now_ms())
        if hedge and purpose is OrderPurpose.ENTRY:
            assert isinstance(outcome, Refused)
            assert (outcome.code, outcome.retryable) == ("hedge_mode", False)
            assert server.count("POST", "order") == 0
            return
        assert isinstance(outcome, Accepted)
        sent = next(params for _, path, params in server.asked if path == "order")
        expected = {
            (False, OrderPurpose.ENTRY): (None, None),
            (False, OrderPurpose.EXIT): (None, "true"),
            (True, OrderPurpose.EXIT): (HELD[side], None),
        }[hedge, purpose]
        assert (sent.get("positionSide"), sent.get("reduceOnly")) == expected
        assert sent["side"] == side.value
        assert (await exchange.snapshot(now_ms())).hedge_mode is hedge


async def test_a_mode_that_was_switched_meanwhile_is_read_again() -> None:
    """Incident 32: -4061 proves that nothing was done; the next exit names its side."""
    exit_order = replace(ENTRY, purpose=OrderPurpose.EXIT, side=Side.SELL)
    async with scripted() as server, client(server) as exchange:
        server.hedge = True
        server.script["POST", "order"] = saying('{"code":-4061,"msg":"position side"}', 400)
        outcome = await exchange.place(exit_order, signed_at=now_ms())
        assert outcome == Refused("-4061", "position side", retryable=True)
        server.script.clear()
        assert isinstance(await exchange.place(exit_order, signed_at=now_ms()), Accepted)
        assert server.asked[-1][2]["positionSide"] == "LONG"


async def test_isolated_margin_is_made_cross_or_refused() -> None:
    """Incident 33: what an entry counts on is set, and what is set is read back."""
    async with scripted() as server, client(server) as exchange:
        server.margin_type = "ISOLATED"
        assert await exchange.set_leverage("BTCUSDT", 5) == 20
        assert server.margin_type == "CROSSED"
        server.margin_type = "ISOLATED"
        server.script["POST", "marginType"] = saying('{"code":-4047,"msg":"open orders"}', 400)
        with pytest.raises(ExchangeRefused, match="BTCUSDT is ISOLATED"):
            await exchange.set_leverage("BTCUSDT", 5)


async def test_server_error_of_a_known_code_is_refused_below_500_only() -> None:
    async with scripted() as server, client(server) as exchange:

        async def broken(_request: web.Request) -> web.Response:
            return error(500, -2019, "Margin is insufficient.")

        server.script["POST", "order"] = broken
        assert isinstance(await exchange.place(ENTRY, signed_at=now_ms()), Unknown)
