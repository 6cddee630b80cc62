"""Amendments, batches, position mode, brackets and the rest, by the unmodified ccxt client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest

from services.venue.app import RunningVenue, start_venue
from services.venue.core.disturbances import Disturbance
from services.venue.core.faults import FaultKind
from services.venue.core.snapshot import export
from services.venue.settings import VenueSettings
from tests.integration.venue import client
from tests.integration.venue.client import BTC, Lockstep

ETH = "ETH/USDT:USDT"


@pytest.fixture
async def venue() -> AsyncIterator[RunningVenue]:
    """A fresh venue on a free port."""
    async with start_venue(VenueSettings(venue_speed=0, venue_seed=3)) as running:
        yield running


@pytest.fixture
async def trader(venue: RunningVenue) -> AsyncIterator[Any]:
    """The real client."""
    async with client.exchange(venue.url) as made:
        yield made


async def price_of(trader: Any, symbol: str = BTC) -> float:
    return float((await trader.fetch_ohlcv(symbol, "1m", limit=1))[0][4])


async def test_an_order_is_amended_and_keeps_its_ids(trader: Any, venue: RunningVenue) -> None:
    async with Lockstep.connect(venue.url) as clock:
        price = await price_of(trader)
        named = {"newClientOrderId": "mine"}
        order = await trader.create_order(BTC, "limit", "buy", 0.01, price * 0.9, named)
        await clock.step()
        with pytest.raises(ccxt.ExchangeError, match="-5027"):
            await trader.edit_order(order["id"], BTC, "limit", "buy", 0.01, order["price"])
        changed = await trader.edit_order(order["id"], BTC, "limit", "buy", 0.02, price * 0.8)
        assert (changed["id"], changed["clientOrderId"]) == (order["id"], "mine")
        assert changed["amount"] == 0.02
        (event,) = await clock.step()
        assert (event["o"]["x"], event["o"]["X"], event["o"]["q"]) == ("AMENDMENT", "NEW", "0.02")
        (resting,) = await trader.fetch_open_orders(BTC)
        assert (resting["id"], resting["price"]) == (order["id"], changed["price"])


async def test_a_batch_has_a_result_for_each_order(trader: Any, venue: RunningVenue) -> None:
    async with Lockstep.connect(venue.url) as clock:
        price = await price_of(trader)
        asked = [
            {"symbol": BTC, "type": "market", "side": "buy", "amount": 0.01},
            {"symbol": BTC, "type": "market", "side": "buy", "amount": 50.0},
            {
                "symbol": BTC,
                "type": "limit",
                "side": "buy",
                "amount": 0.01,
                "price": price * 0.9,
                "params": {"newClientOrderId": "rest"},
            },
        ]
        made = await trader.create_orders(asked)
        refused = [one["info"]["code"] for one in made if one["status"] == "rejected"]
        assert (len(made), refused) == (3, [-2019])
        (resting,) = [one for one in made if one["clientOrderId"] == "rest"]
        assert trader.last_response_headers["X-MBX-ORDER-COUNT-10S"] == "3"
        await clock.step()
        gone = await trader.cancel_orders([resting["id"], "1"], BTC)
        assert [one["clientOrderId"] for one in gone] == ["rest"]
        named = {"symbol": "BTCUSDT", "origClientOrderIdList": ["nothing"]}
        with pytest.raises(ccxt.OrderNotFound, match="-2011"):
            await trader.fapiPrivateDeleteBatchOrders(named)
        with pytest.raises(ccxt.BadRequest):
            await trader.fapiPrivatePostBatchOrders({"batchOrders": "[]"})


async def test_all_orders_are_cancelled_plain_and_conditional_each_by_itself(
    trader: Any, venue: RunningVenue
) -> None:
    async with Lockstep.connect(venue.url) as clock:
        price = await price_of(trader)
        for part in (0.9, 0.8):
            await trader.create_order(BTC, "limit", "buy", 0.01, price * part)
        stop = {"triggerPrice": price * 1.2}
        await trader.create_order(BTC, "market", "buy", 0.01, None, stop)
        await clock.step()
        await trader.cancel_all_orders(BTC)
        await clock.step()
        assert await trader.fetch_open_orders(BTC) == []
        waiting = await trader.fetch_open_orders(BTC, None, None, {"trigger": True})
        assert len(waiting) == 1
        await trader.cancel_all_orders(BTC, {"trigger": True})
        await clock.step()
        assert await trader.fetch_open_orders(BTC, None, None, {"trigger": True}) == []


async def test_the_countdown_ends_what_nobody_prolongs(trader: Any, venue: RunningVenue) -> None:
    async with Lockstep.connect(venue.url) as clock:
        price = await price_of(trader)
        await trader.create_order(BTC, "limit", "buy", 0.01, price * 0.9)
        asked = {"symbol": "BTCUSDT", "countdownTime": "30000"}
        answer = await trader.fapiPrivatePostCountdownCancelAll(asked)
        assert answer == asked
        await clock.step()
        (event,) = await clock.steps(2)
        assert event["o"]["X"] == "CANCELED"


async def test_hedge_mode(trader: Any, venue: RunningVenue) -> None:
    async with Lockstep.connect(venue.url) as clock:
        assert (await trader.fetch_position_mode())["hedged"] is False
        with pytest.raises(ccxt.OperationRejected, match="-4059"):
            await trader.set_position_mode(False)
        with pytest.raises(ccxt.OperationRejected, match="-4061"):
            await trader.create_order(BTC, "market", "buy", 0.01, None, {"hedged": True})
        await trader.set_position_mode(True)
        assert (await trader.fetch_position_mode())["hedged"] is True
        with pytest.raises(ccxt.OperationRejected, match="-4061"):
            await trader.create_order(BTC, "market", "buy", 0.01)
        hedged = {"hedged": True}
        await trader.create_order(BTC, "market", "buy", 0.02, None, hedged)
        await trader.create_order(BTC, "market", "sell", 0.01, None, hedged)
        events = await clock.step()
        assert {e["o"]["ps"] for e in events if "o" in e} == {"LONG", "SHORT"}
        held = {p["side"]: p["contracts"] for p in await trader.fetch_positions()}
        assert held == {"long": 0.02, "short": 0.01}
        with pytest.raises(ccxt.OperationRejected, match="-4068"):
            await trader.set_position_mode(False)
        closing = {"hedged": True, "reduceOnly": True}
        await trader.create_order(BTC, "market", "sell", 0.02, None, closing)
        await clock.step()
        (left,) = await trader.fetch_positions()
        assert (left["side"], left["contracts"]) == ("short", 0.01)
        sides = {t["info"]["positionSide"] for t in await trader.fetch_my_trades(BTC)}
        assert sides == {"LONG", "SHORT"}


async def test_brackets_are_told_and_enforced(trader: Any, venue: RunningVenue) -> None:
    async with Lockstep.connect(venue.url) as clock:
        tiers = (await trader.fetch_leverage_tiers([BTC]))[BTC]
        assert tiers == sorted(tiers, key=lambda tier: tier["minNotional"])
        assert tiers[0]["maxLeverage"] > tiers[-1]["maxLeverage"]
        with pytest.raises(ccxt.BadRequest, match="-4028"):
            await trader.fapiPrivatePostLeverage(
                {"symbol": "BTCUSDT", "leverage": int(tiers[0]["maxLeverage"]) + 1}
            )
        first = tiers[0]
        await trader.set_leverage(int(first["maxLeverage"]), BTC)
        price = await price_of(trader)
        too_much = round(first["maxNotional"] / price * 1.05, 3)
        with pytest.raises((ccxt.OperationRejected, ccxt.InsufficientFunds)):
            await trader.create_order(BTC, "market", "buy", too_much)
        await trader.create_order(BTC, "market", "buy", 0.05)
        await clock.step()
        (held,) = await trader.fetch_positions()
        needed = held["notional"] * first["maintenanceMarginRate"]
        assert held["maintenanceMargin"] == pytest.approx(needed, rel=1e-6)
        with pytest.raises(ccxt.ExchangeError, match="-4168"):
            await trader.set_margin_mode("isolated", BTC)


async def test_trailing_and_limited_conditionals(trader: Any, venue: RunningVenue) -> None:
    async with Lockstep.connect(venue.url) as clock:
        await trader.create_order(BTC, "market", "buy", 0.05)
        await clock.step()
        price = await price_of(trader)
        trailing = {"trailingPercent": 1, "reduceOnly": True, "clientAlgoId": "trail"}
        order = await trader.create_order(BTC, "market", "sell", 0.05, None, trailing)
        assert order["clientOrderId"] == "trail"
        limited = {"stopLossPrice": price * 0.95, "reduceOnly": True, "clientAlgoId": "limited"}
        await trader.create_order(BTC, "limit", "sell", 0.05, price * 0.94, limited)
        await clock.step()
        found = await trader.fetch_open_orders(BTC, None, None, {"trigger": True})
        kinds = {one["clientOrderId"]: one["info"]["orderType"] for one in found}
        assert kinds == {"trail": "TRAILING_STOP_MARKET", "limited": "STOP"}
        finished = await clock.until(
            lambda e: e["e"] == "ALGO_UPDATE" and e["o"]["X"] == "FINISHED", most=4000
        )
        assert finished["o"]["caid"] == "trail"
        assert await trader.fetch_positions() == []


async def test_a_large_order_fills_in_parts_that_are_told_whole(
    trader: Any, venue: RunningVenue
) -> None:
    async with Lockstep.connect(venue.url) as clock:
        venue.exchange.disturb(Disturbance("p", FaultKind.PARTIAL, Decimal("0.3"), left=0))
        await trader.create_order(BTC, "market", "buy", 1, None, {"newClientOrderId": "big"})
        seen = [e["o"] for e in await clock.steps(40) if e["e"] == "ORDER_TRADE_UPDATE"]
        fills = [o for o in seen if o["x"] == "TRADE"]
        assert len(fills) == 4
        assert sum(Decimal(o["l"]) for o in fills) == 1
        assert [o["X"] for o in fills] == ["PARTIALLY_FILLED"] * (len(fills) - 1) + ["FILLED"]
        done = Decimal(0)
        cost = Decimal(0)
        for o in fills:
            done += Decimal(o["l"])
            cost += Decimal(o["l"]) * Decimal(o["L"])
            assert Decimal(o["z"]) == done
            assert Decimal(o["ap"]) == (cost / done).quantize(Decimal("0.00000001"))
            assert Decimal(o["n"]) > 0 and o["t"] and o["N"] == "USDT"


async def test_everything_new_survives_a_restart(tmp_path: Path) -> None:
    settings = VenueSettings(venue_speed=0, venue_seed=3, venue_journal=tmp_path / "v.sqlite")
    async with (
        start_venue(settings) as venue,
        client.exchange(venue.url) as trader,
        Lockstep.connect(venue.url) as clock,
    ):
        await trader.set_position_mode(True)
        price = await price_of(trader)
        hedged = {"hedged": True}
        await trader.create_order(BTC, "market", "buy", 0.02, None, hedged)
        await trader.create_order(BTC, "market", "sell", 0.02, None, hedged)
        order = await trader.create_order(BTC, "limit", "buy", 0.01, price * 0.9, hedged)
        await clock.step()
        trailing = {"trailingPercent": 2, "hedged": True, "reduceOnly": True}
        await trader.create_order(BTC, "market", "sell", 0.02, None, trailing)
        await clock.step()
        await trader.edit_order(order["id"], BTC, "limit", "buy", 0.02, price * 0.8)
        await trader.fapiPrivatePostCountdownCancelAll(
            {"symbol": "BTCUSDT", "countdownTime": "600000"}
        )
        await clock.steps(5)
        await trader.edit_order(order["id"], BTC, "limit", "buy", 0.02, price * 0.7)
        known = export(venue.exchange.engine.state)
        assert known["hedged"] and len(known["holdings"]) == 2 and known["countdowns"]
    async with start_venue(settings) as venue:
        assert export(venue.exchange.engine.state) == known


async def test_the_book_is_whole_and_the_streams_keep_it_so(
    trader: Any, venue: RunningVenue
) -> None:
    watching = asyncio.create_task(trader.watch_order_book(BTC))
    async with Lockstep.connect(venue.url) as clock, asyncio.timeout(20):
        while not watching.done():
            await clock.step()
            await asyncio.sleep(0.05)
        await watching
        for _ in range(4):
            await asyncio.sleep(0.3)
            after = asyncio.create_task(trader.watch_order_book(BTC))
            await clock.step()
            book = await after
            asked = await trader.fetch_order_book(BTC, 50)
            assert book["nonce"] == venue.exchange.number == asked["nonce"]
            assert (book["bids"], book["asks"]) == (asked["bids"], asked["asks"])
            ticker = (await trader.fetch_bids_asks([BTC]))[BTC]
            assert [ticker["bid"], ticker["bidVolume"]] == asked["bids"][0][:2]
            assert [ticker["ask"], ticker["askVolume"]] == asked["asks"][0][:2]


async def test_public_trades_are_streamed(trader: Any, venue: RunningVenue) -> None:
    async with Lockstep.connect(venue.url) as clock, asyncio.timeout(20):
        await clock.step()
        watching = asyncio.create_task(trader.watch_trades(BTC))
        while not watching.done():
            await asyncio.sleep(0.3)
            await clock.step()
        (trade, *_) = await watching
        assert trade["price"] > 0 and trade["amount"] > 0
