"""The unmodified ccxt.pro client trades on the venue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import ccxt
import pytest

from services.venue.app import RunningVenue, start_venue
from services.venue.settings import VenueSettings
from tests.integration.venue import client
from tests.integration.venue.client import BTC, Lockstep


@pytest.fixture
async def venue() -> AsyncIterator[RunningVenue]:
    """A fresh venue on a free port, generated market, as fast as answers come."""
    async with start_venue(VenueSettings(venue_speed=0, venue_seed=3)) as running:
        yield running


@pytest.fixture
async def ccxt_client(venue: RunningVenue) -> AsyncIterator[Any]:
    """The real client."""
    async with client.exchange(venue.url) as made:
        yield made


async def test_markets_candles_and_prices(ccxt_client: Any, venue: RunningVenue) -> None:
    assert len(ccxt_client.markets) == 8
    market = ccxt_client.market(BTC)
    assert market["precision"]["price"] == 0.1
    assert market["limits"]["cost"]["min"] == 100
    candles = await ccxt_client.fetch_ohlcv(BTC, "1m", limit=1000)
    assert len(candles) == 501
    assert candles[-1][0] == venue.exchange.time
    assert [c[0] for c in candles] == sorted(c[0] for c in candles)
    hours = await ccxt_client.fetch_ohlcv(BTC, "1h", limit=5)
    assert len(hours) == 5
    tickers = await ccxt_client.fetch_tickers()
    assert tickers[BTC]["last"] == candles[-1][4]
    book = (await ccxt_client.fetch_bids_asks())[BTC]
    assert book["bid"] < candles[-1][4] < book["ask"]
    rate = await ccxt_client.fetch_funding_rate(BTC)
    assert rate["markPrice"] == candles[-1][4]
    assert rate["fundingRate"] is not None


async def test_market_order_is_new_then_filled_at_the_next_step(
    ccxt_client: Any, venue: RunningVenue
) -> None:
    watched: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def watch() -> None:
        while True:
            for order in await ccxt_client.watch_orders():
                await watched.put(dict(order))

    async with Lockstep.connect(venue.url) as clock:
        watching = asyncio.create_task(watch())
        async with asyncio.timeout(5):
            while len(venue.exchange.engine.state.marks) < 1 or not ccxt_client.clients:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        params = {"newClientOrderId": "qte0-first"}
        answer = await ccxt_client.create_order(BTC, "market", "buy", 0.05, None, params)
        assert (answer["status"], answer["filled"]) == ("open", 0)
        events = await clock.step()
        kinds = [event["e"] for event in events]
        assert kinds == ["ORDER_TRADE_UPDATE", "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"]
        assert [e["o"]["x"] for e in events[:2]] == ["NEW", "TRADE"]
        assert all(event["pn"] == 1 for event in events)
        async with asyncio.timeout(5):
            while (seen := await watched.get())["status"] != "closed":
                continue
        watching.cancel()
    assert seen["clientOrderId"] == "qte0-first"
    assert seen["filled"] == 0.05
    trade = events[1]["o"]
    (mine,) = await ccxt_client.fetch_my_trades(BTC)
    assert mine["info"]["price"] == trade["L"]
    assert mine["info"]["commission"] == trade["n"]
    asked = {"clientOrderId": "qte0-first"}
    found = await ccxt_client.fetch_order(None, BTC, asked)
    assert (found["id"], found["status"]) == (answer["id"], "closed")
    (position,) = await ccxt_client.fetch_positions()
    assert (position["side"], position["contracts"]) == ("long", 0.05)
    balance = (await ccxt_client.fetch_balance())["info"]["assets"][0]
    wallet = Decimal(10_000) - Decimal(trade["n"])
    assert Decimal(balance["walletBalance"]) == wallet


async def test_limit_rests_and_is_cancelled(ccxt_client: Any, venue: RunningVenue) -> None:
    async with Lockstep.connect(venue.url) as clock:
        price = (await ccxt_client.fetch_ohlcv(BTC, "1m", limit=1))[0][4] * 0.9
        order = await ccxt_client.create_order(BTC, "limit", "buy", 0.01, price)
        await clock.step()
        (resting,) = await ccxt_client.fetch_open_orders()
        assert resting["id"] == order["id"]
        balance = await ccxt_client.fetch_balance()
        assert balance["USDT"]["used"] > 0
        await ccxt_client.cancel_order(order["id"], BTC)
        (event,) = await clock.step()
        assert (event["o"]["x"], event["o"]["X"]) == ("CANCELED", "CANCELED")
        assert await ccxt_client.fetch_open_orders() == []
        assert (await ccxt_client.fetch_order(order["id"], BTC))["status"] == "canceled"
        assert (await ccxt_client.fetch_balance())["USDT"]["used"] == 0


async def test_stop_protects_a_position_until_it_fires(
    ccxt_client: Any, venue: RunningVenue
) -> None:
    async with Lockstep.connect(venue.url) as clock:
        await ccxt_client.create_order(BTC, "market", "buy", 0.05)
        filled = (await clock.step())[1]["o"]
        trigger = float(filled["L"]) * 0.9995
        params = {"stopLossPrice": trigger, "reduceOnly": True, "clientAlgoId": "qts0-stop"}
        stop = await ccxt_client.create_order(BTC, "market", "sell", 0.05, None, params)
        await clock.step()
        (waiting,) = await ccxt_client.fetch_open_orders(None, None, None, {"trigger": True})
        assert waiting["id"] == stop["id"]
        assert await ccxt_client.fetch_open_orders() == []
        finished = await clock.until(
            lambda e: e["e"] == "ALGO_UPDATE" and e["o"]["X"] == "FINISHED"
        )
        assert finished["o"]["caid"] == "qts0-stop"
        assert await ccxt_client.fetch_positions() == []
        child = await ccxt_client.fetch_order(None, BTC, {"clientOrderId": "qts0-stop"})
        assert (child["status"], child["id"]) == ("closed", finished["o"]["ai"])
        asked = {"trigger": True, "clientOrderId": "qts0-stop"}
        assert (await ccxt_client.fetch_order(None, BTC, asked))["status"] == "closed"


async def test_conditional_order_is_cancelled_by_client_id(
    ccxt_client: Any, venue: RunningVenue
) -> None:
    async with Lockstep.connect(venue.url) as clock:
        await ccxt_client.create_order(BTC, "market", "buy", 0.05)
        filled = (await clock.step())[1]["o"]
        params = {
            "takeProfitPrice": float(filled["L"]) * 1.2,
            "reduceOnly": True,
            "clientAlgoId": "qtt0-target",
        }
        await ccxt_client.create_order(BTC, "market", "sell", 0.05, None, params)
        await clock.step()
        asked = {"trigger": True, "clientOrderId": "qtt0-target"}
        await ccxt_client.cancel_order(None, BTC, asked)
        (event,) = await clock.step()
        assert (event["e"], event["o"]["X"]) == ("ALGO_UPDATE", "CANCELED")


async def test_leverage_modes_fees_and_brackets(ccxt_client: Any) -> None:
    import ccxt

    assert (await ccxt_client.set_leverage(7, BTC))["leverage"] == 7
    leverage = await ccxt_client.fetch_leverage(BTC)
    assert leverage["longLeverage"] == 7
    with pytest.raises(ccxt.MarginModeAlreadySet):
        await ccxt_client.set_margin_mode("cross", BTC)
    with pytest.raises(ccxt.OperationRejected):
        await ccxt_client.set_position_mode(False)
    assert (await ccxt_client.fetch_position_mode())["hedged"] is False
    fee = await ccxt_client.fetch_trading_fee(BTC)
    assert (fee["maker"], fee["taker"]) == (0.0002, 0.0005)
    tiers = await ccxt_client.fetch_market_leverage_tiers(BTC)
    assert tiers[0]["maxLeverage"] == 75


async def test_all_orders_of_a_symbol_are_cancelled(ccxt_client: Any, venue: RunningVenue) -> None:
    async with Lockstep.connect(venue.url) as clock:
        price = (await ccxt_client.fetch_ohlcv(BTC, "1m", limit=1))[0][4] * 0.9
        for _ in range(3):
            await ccxt_client.create_order(BTC, "limit", "buy", 0.01, price)
        await clock.step()
        await ccxt_client.cancel_all_orders(BTC)
        events = await clock.step()
        assert [event["o"]["X"] for event in events] == ["CANCELED"] * 3
        assert len(await ccxt_client.fetch_orders(BTC)) == 3


async def test_lists_without_a_beginning_are_the_newest(
    ccxt_client: Any, venue: RunningVenue
) -> None:
    async with Lockstep.connect(venue.url) as clock:
        for number in range(4):
            params = {"newClientOrderId": f"n{number}"}
            await ccxt_client.create_order(BTC, "market", "buy", 0.01, None, params)
            await clock.step()
        asked = {"symbol": "BTCUSDT", "limit": 2}
        trades = await ccxt_client.fapiPrivateGetUserTrades({"symbol": "BTCUSDT"})
        newest = await ccxt_client.fapiPrivateGetUserTrades(asked)
        assert newest == trades[-2:]
        first = await ccxt_client.fapiPrivateGetUserTrades({**asked, "startTime": 0})
        assert first == trades[:2]
        rest = await ccxt_client.fapiPrivateGetUserTrades({**asked, "fromId": trades[1]["id"]})
        assert rest == trades[1:3]
        unknown = {**asked, "fromId": int(trades[1]["id"]) + 1}
        with pytest.raises(ccxt.BadRequest, match="fromId"):
            await ccxt_client.fapiPrivateGetUserTrades(unknown)
        orders = await ccxt_client.fapiPrivateGetAllOrders(asked)
        assert [order["clientOrderId"] for order in orders] == ["n2", "n3"]
        entries = await ccxt_client.fapiPrivateGetIncome({"limit": 2})
        assert [entry["tradeId"] for entry in entries] == [str(trade["id"]) for trade in newest]
