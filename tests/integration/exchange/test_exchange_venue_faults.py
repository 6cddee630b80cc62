"""On the real paper venue, told to fail: what the client makes of each fault, and its way back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from services.exec_risk.core.exchange_events import (
    Accepted,
    FillReport,
    PointReached,
    PriceReport,
    Refused,
    StreamStateChanged,
    Unknown,
)
from services.exec_risk.exchange.requests import ExchangeUnavailable
from services.trade.order import Order, OrderType, Side, TimeInForce
from services.venue.app import start_venue
from services.venue.settings import VenueSettings
from tests.integration.exchange.test_exchange_on_venue import Trader, now_ms, order, trading
from tests.support.eventually import eventually

Venue = tuple[Trader, "Faults"]


class Faults:
    """Tells the venue to misbehave."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = f"{url}/paper/v1/faults"
        self._session = session

    async def add(self, kind: str, **fields: Any) -> None:
        headers = {"X-MBX-APIKEY": "paper-key"}
        asked = {"kind": kind, **fields}
        async with self._session.post(self._url, json=asked, headers=headers) as answer:
            assert answer.status == 200, await answer.text()


@asynccontextmanager
async def running(speed: float = 0) -> AsyncIterator[Venue]:
    """A venue whose market stands still, and a client that follows it."""
    async with (
        start_venue(VenueSettings(venue_speed=speed)) as venue,
        trading(venue.url, "BTCUSDT") as trader,
        aiohttp.ClientSession() as session,
    ):
        trader.hold = True
        await trader.at(0)
        yield trader, Faults(venue.url, session)


def entry(leg: str = "entry", quantity: str = "0.010") -> Order:
    return order(leg, OrderType.MARKET, Side.BUY, Decimal(quantity), "BTCUSDT")


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reply_drop"},
        {"kind": "error", "status": 503, "body": "html", "carried_out": True},
        {"kind": "error", "status": 200, "body": "broken", "carried_out": True},
        {"kind": "error", "status": 200, "body": "empty", "carried_out": True},
        {"kind": "error", "status": 500, "code": -2019, "carried_out": True},
        {"kind": "error", "status": 503, "code": -1008, "carried_out": True},
        {"kind": "error", "status": 408, "code": -1007, "carried_out": True},
    ],
    ids=lambda fault: (
        f"{fault['kind']}-{fault.get('status')}-{fault.get('body', fault.get('code'))}"
    ),
)
async def test_an_order_whose_answer_is_lost_is_unknown_and_found(fault: dict[str, Any]) -> None:
    """Incident 26: accepted, the answer lost or spoilt: one order, found by its own id."""
    async with running() as (trader, faults):
        await faults.add(**fault, path="order", method="POST")
        exchange = trader.exchange
        assert isinstance(await exchange.place(entry(), signed_at=now_ms()), Unknown)
        found = await exchange.find(entry())
        assert found is not None
        assert found.client_order_id == entry().client_order_id
        orders = (await exchange.snapshot(0)).open_orders
        assert [o.client_order_id for o in orders] == [entry().client_order_id]
        # sent once more it is not refused as if it had failed: an open order has that id
        assert isinstance(await exchange.place(entry(), signed_at=now_ms()), Unknown)


@pytest.mark.parametrize("fault", [{"kind": "request_drop"}, {"kind": "maintenance"}])
async def test_an_order_that_never_arrived_is_unknown_and_not_found(fault: dict[str, Any]) -> None:
    async with running() as (trader, faults):
        matched = {"path": "order"} if fault["kind"] == "request_drop" else {"seconds": 1.0}
        await faults.add(**fault, **matched)
        assert isinstance(await trader.exchange.place(entry(), signed_at=now_ms()), Unknown)

        async def told() -> bool:
            try:
                return await trader.exchange.find(entry()) is None
            except ExchangeUnavailable:
                return False

        await eventually(told)
        await eventually(lambda: trader.exchange.connected, 15)


@pytest.mark.parametrize("offset", [3_000, -3_000])
async def test_skew_of_three_seconds_is_cured_by_one_look(offset: int) -> None:
    """Incident 46: reads and writes go on after one resync, whichever comes first."""
    async with running() as (trader, faults):
        await faults.add("skew", offset_ms=offset)
        assert isinstance(await trader.exchange.place(entry(), signed_at=now_ms()), Accepted)
        assert (await trader.exchange.snapshot(0)).account.wallet_balance > 0
        frozen = await trader.exchange.place(entry("exit"), signed_at=now_ms() - 2_000)
        assert isinstance(frozen, Refused)
        assert (frozen.code, frozen.retryable) == ("-1021", True)


async def test_429_of_the_venue_holds_entries_and_418_everything() -> None:
    async with running() as (trader, faults):
        exchange = trader.exchange
        stop = replace(
            order("stop", OrderType.STOP_MARKET, Side.SELL, Decimal("0.01"), "BTCUSDT"),
            trigger_price=Decimal(1_000),
        )
        await faults.add("error", status=429, code=-1003, retry_after=20, path="klines")
        with pytest.raises(ExchangeUnavailable):
            await exchange.history("BTCUSDT", "1m", 1)
        refused = await exchange.place(entry(), signed_at=now_ms())
        assert isinstance(refused, Refused)
        assert (refused.code, refused.retryable) == ("rate_limited", True)
        exited = await exchange.place(stop, signed_at=now_ms())
        assert isinstance(exited, Accepted) or exited == Refused(
            "-2022", "ReduceOnly Order is rejected."
        )
        await faults.add("ban", status=418, retry_after=2)
        assert isinstance(await exchange.cancel(stop, signed_at=now_ms()), Refused)
        assert not exchange.connected
        assert "418" in exchange.down_reason
        await eventually(lambda: exchange.connected, 15)


async def test_closed_sockets_and_silence_end_in_a_reconnect_that_is_told() -> None:
    async with running() as (trader, faults):
        exchange = trader.exchange

        def states() -> list[bool]:
            told = [e for e in trader.events if isinstance(e, StreamStateChanged)]
            return [e.up for e in told if e.stream == "user"]

        for fault in ({"kind": "close_sockets"}, {"kind": "silence", "seconds": 5.0}):
            trader.events.clear()
            await faults.add(**fault)
            await eventually(lambda: False in states(), 15)
            await eventually(lambda: states() and states()[-1] and exchange.connected, 20)
        assert isinstance(await exchange.place(entry(), signed_at=now_ms()), Accepted)


async def test_prices_come_with_every_point_in_market_time() -> None:
    """Spread and funding are known to the rules on paper as they are live."""
    async with running() as (trader, _):
        trader.hold = False
        await trader.exchange.idle(trader.points[-1])
        await trader.at(12)
        trader.hold = True
        prices = [e for e in trader.events if isinstance(e, PriceReport)]
        points = [e for e in trader.events if isinstance(e, PointReached)]
        assert len(points) >= 12
        # a candle opens at the time at which the last one closed: that is told once
        assert [p.time for p in prices] == sorted({p.time for p in points if p.number})
        for price in prices:
            assert price.bid is not None
            assert price.ask is not None
            assert price.bid < price.mark < price.ask
            assert price.funding_rate is not None
            assert price.next_funding_time is not None
            assert price.time < price.next_funding_time <= price.time + 8 * 3_600_000


@pytest.mark.parametrize(
    ("kept", "factor", "expected"),
    [
        (TimeInForce.GTX, "1.01", "-5022"),
        (TimeInForce.GTX, "0.9", "NEW"),
        (TimeInForce.FOK, "0.9", "EXPIRED"),
        (TimeInForce.IOC, "0.9", "EXPIRED"),
        (TimeInForce.GTC, "0.9", "NEW"),
    ],
)
async def test_limit_orders_by_their_time_in_force(
    kept: TimeInForce, factor: str, expected: str
) -> None:
    """Post-only that would take is refused by proof; what IOC and FOK cannot fill is over."""
    async with running() as (trader, _):
        exchange = trader.exchange
        filters = (await exchange.filters())["BTCUSDT"]
        assert filters.tiers
        close = (await exchange.history("BTCUSDT", "1m", 1))[-1].close
        limit = replace(
            order("entry", OrderType.LIMIT, Side.BUY, Decimal("0.01"), "BTCUSDT"),
            price=filters.floor_price(close * Decimal(factor)),
            time_in_force=kept,
        )
        outcome = await exchange.place(limit, signed_at=now_ms())
        if expected.startswith("-"):
            assert isinstance(outcome, Refused)
            assert (outcome.code, outcome.retryable) == (expected, False)
            return
        assert isinstance(outcome, Accepted)
        trader.hold = False
        await exchange.idle(trader.points[-1])
        await trader.at(trader.points[-1] + 4)
        trader.hold = True
        reports = trader.reports(limit.client_order_id)
        wanted = "ACCEPTED" if expected == "NEW" else expected
        assert reports[-1].state.value == wanted
        assert not [e for e in trader.events if isinstance(e, FillReport)]


async def test_an_account_that_was_switched_to_hedge_mode_is_closed_and_not_reversed() -> None:
    """Incidents 31 and 32: the SELL that closes a LONG names the LONG, on the real venue."""
    async with running() as (trader, _):
        exchange = trader.exchange

        async def go_on() -> None:
            trader.hold = False
            await exchange.idle(trader.points[-1])
            await trader.at(trader.points[-1] + 2)
            trader.hold = True
            await trader.at(trader.points[-1])

        raw = exchange._client
        await raw.fapiPrivatePostPositionSideDual({"dualSidePosition": "true"})
        opened = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
        await raw.fapiPrivatePostOrder({**opened, "positionSide": "LONG"})
        await go_on()
        snapshot = await exchange.snapshot(0)
        assert [(p.position_side, p.quantity) for p in snapshot.account.positions] == [
            ("LONG", Decimal("0.01"))
        ]
        close = order("exit", OrderType.MARKET, Side.SELL, Decimal("0.01"), "BTCUSDT")
        refused = await exchange.place(close, signed_at=now_ms())
        assert isinstance(refused, Refused)
        assert (refused.code, refused.retryable) == ("-4061", True)
        assert isinstance(await exchange.place(close, signed_at=now_ms()), Accepted)
        await go_on()
        snapshot = await exchange.snapshot(0)
        assert snapshot.hedge_mode
        assert snapshot.account.positions == ()
        blocked = await exchange.place(entry(), signed_at=now_ms())
        assert isinstance(blocked, Refused)
        assert blocked.code == "hedge_mode"
