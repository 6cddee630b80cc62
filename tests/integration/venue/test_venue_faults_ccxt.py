"""Every fault of the venue, as the unmodified ccxt.pro client sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import ccxt
import pytest

from services.venue.app import RunningVenue, start_venue
from services.venue.settings import VenueSettings
from tests.integration.venue import client
from tests.integration.venue.client import BTC, KEY, Lockstep


class Faults:
    """Tells a venue to misbehave."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = f"{url}/paper/v1/faults"
        self._session = session

    async def add(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Put a fault in force."""
        asked = {"kind": kind, **fields}
        async with self._session.post(self._url, json=asked, headers=_key()) as answer:
            assert answer.status == 200, await answer.text()
            return dict(await answer.json())

    async def clear(self, fault_id: str = "") -> list[str]:
        """End faults."""
        params = {"id": fault_id} if fault_id else {}
        async with self._session.delete(self._url, params=params, headers=_key()) as answer:
            return list((await answer.json())["removed"])

    async def active(self) -> list[dict[str, Any]]:
        """Return the faults in force."""
        async with self._session.get(self._url, headers=_key()) as answer:
            return list((await answer.json())["faults"])


def _key() -> dict[str, str]:
    return {"X-MBX-APIKEY": KEY}


@pytest.fixture
async def venue() -> AsyncIterator[RunningVenue]:
    """A fresh venue on a free port."""
    async with start_venue(VenueSettings(venue_speed=0, venue_seed=3)) as running:
        yield running


@pytest.fixture
async def faults(venue: RunningVenue) -> AsyncIterator[Faults]:
    """Its faults."""
    async with aiohttp.ClientSession() as session:
        yield Faults(venue.url, session)


@pytest.fixture
async def trader(venue: RunningVenue) -> AsyncIterator[Any]:
    """The real client, impatient."""
    async with client.exchange(venue.url, timeout=1500) as made:
        yield made


async def buy(trader: Any, name: str) -> Any:
    return await trader.create_order(BTC, "market", "buy", 0.01, None, {"newClientOrderId": name})


def open_ids(venue: RunningVenue) -> list[str]:
    return [order.client_id for order in venue.exchange.engine.state.book.orders.values()]


async def test_the_api_key_guards_the_faults_and_bad_ones_are_refused(venue: RunningVenue) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{venue.url}/paper/v1/faults"
        assert (await session.get(url)).status == 401
        assert (await session.post(url, json={"kind": "silence"})).status == 401
        refused = await session.post(url, data="{", headers=_key())
        assert (refused.status, (await refused.json())["code"]) == (400, -1102)
        unknown = {"kind": "gap", "symbol": "NOSUCH", "amount": "0.1"}
        refused = await session.post(url, json=unknown, headers=_key())
        assert (refused.status, (await refused.json())["msg"]) == (400, "Invalid symbol.")


async def test_a_dropped_reply_hides_an_order_that_exists(
    trader: Any, venue: RunningVenue, faults: Faults
) -> None:
    """Incident class: the venue accepts and the reply is lost, twice."""
    await faults.add("reply_drop", path="order", method="POST", client_id="qte", times=2)
    await buy(trader, "other")
    for name in ("qte-1", "qte-2"):
        with pytest.raises(ccxt.ExchangeNotAvailable) as lost:
            await buy(trader, name)
        assert isinstance(lost.value.__cause__, aiohttp.ServerDisconnectedError)
    assert open_ids(venue) == ["other", "qte-1", "qte-2"]
    found = await trader.fetch_order(None, BTC, {"clientOrderId": "qte-1"})
    assert found["status"] == "open"
    await buy(trader, "qte-3")
    assert await faults.active() == []


async def test_a_dropped_request_leaves_nothing(
    trader: Any, venue: RunningVenue, faults: Faults
) -> None:
    await faults.add("request_drop", path="order")
    with pytest.raises(ccxt.ExchangeNotAvailable):
        await buy(trader, "qte-1")
    assert open_ids(venue) == []
    await buy(trader, "qte-1")


async def test_a_repeated_request_is_carried_out_twice(
    trader: Any, venue: RunningVenue, faults: Faults
) -> None:
    await faults.add("request_duplicate", path="order")
    with pytest.raises(ccxt.InvalidOrder, match="-4116"):
        await buy(trader, "qte-1")
    assert open_ids(venue) == ["qte-1"]


async def test_a_late_reply_is_a_time_out_and_the_order_exists(
    trader: Any, venue: RunningVenue, faults: Faults
) -> None:
    await faults.add("reply_delay", path="order", delay_ms=2500)
    with pytest.raises(ccxt.RequestTimeout):
        await buy(trader, "qte-1")
    assert open_ids(venue) == ["qte-1"]


async def test_a_request_that_comes_late_is_refused_by_its_time(
    trader: Any, venue: RunningVenue, faults: Faults
) -> None:
    await faults.add("request_delay", path="order", delay_ms=900)
    with pytest.raises(ccxt.InvalidNonce, match="-1021"):
        await trader.create_order(BTC, "market", "buy", 0.01, None, {"recvWindow": 500})
    assert open_ids(venue) == []


async def test_replies_change_places(trader: Any, faults: Faults) -> None:
    await faults.add("reply_reorder", path="order", client_id="first", delay_ms=1200)
    done: list[str] = []

    async def send(name: str) -> None:
        await buy(trader, name)
        done.append(name)

    first = asyncio.create_task(send("first"))
    await asyncio.sleep(0.1)
    await send("second")
    await first
    assert done == ["second", "first"]


@pytest.mark.parametrize(
    ("fault", "error", "match"),
    [
        (
            {"status": 400, "code": -2019, "message": "Margin is insufficient."},
            "InsufficientFunds",
            "-2019",
        ),
        ({"status": 503, "code": -1007, "message": "Timeout."}, "RequestTimeout", "-1007"),
        ({"status": 500, "code": -1001, "message": "Internal error."}, "OperationFailed", "-1001"),
        ({"status": 502, "body": "html"}, "ExchangeNotAvailable", "502"),
        ({"status": 429, "code": -1003, "retry_after": 3}, "DDoSProtection", "-1003"),
        (
            {"status": 401, "code": -2015, "message": "Invalid API-key"},
            "AuthenticationError",
            "-2015",
        ),
    ],
)
@pytest.mark.parametrize("carried_out", [False, True])
async def test_any_error_before_or_after_the_request_takes_effect(
    trader: Any,
    venue: RunningVenue,
    faults: Faults,
    fault: dict[str, Any],
    error: str,
    match: str,
    carried_out: bool,
) -> None:
    await faults.add("error", path="order", carried_out=carried_out, **fault)
    with pytest.raises(getattr(ccxt, error), match=match):
        await buy(trader, "qte-1")
    assert open_ids(venue) == (["qte-1"] if carried_out else [])
    if "retry_after" in fault:
        assert trader.last_response_headers["Retry-After"] == "3"


@pytest.mark.parametrize("body", ["broken", "empty", "html"])
async def test_an_answer_that_cannot_be_read_gives_an_order_without_id(
    trader: Any, venue: RunningVenue, faults: Faults, body: str
) -> None:
    await faults.add("error", path="order", status=200, body=body, carried_out=True)
    order = await buy(trader, "qte-1")
    assert order["id"] is None
    assert open_ids(venue) == ["qte-1"]


@pytest.mark.parametrize("status", [429, 418])
async def test_a_ban_holds_for_its_time(trader: Any, faults: Faults, status: int) -> None:
    await faults.add("ban", status=status, retry_after=1)
    with pytest.raises(ccxt.DDoSProtection):
        await trader.fetch_balance()
    assert trader.last_response_headers["Retry-After"] == "1"
    with pytest.raises(ccxt.DDoSProtection):
        await trader.fetch_time()
    async with asyncio.timeout(5):
        while await faults.active():
            await asyncio.sleep(0.05)
    await trader.fetch_balance()


async def test_maintenance_refuses_everything_and_closes_sockets(
    trader: Any, venue: RunningVenue, faults: Faults
) -> None:
    async with Lockstep.connect(venue.url) as clock:
        await faults.add("maintenance")
        with pytest.raises(ccxt.ExchangeNotAvailable, match="503"):
            await buy(trader, "qte-1")
        message = await clock.next_user_message()
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        assert message.data == 1001
    await faults.clear()
    async with Lockstep.connect(venue.url) as clock:
        await buy(trader, "qte-1")
        assert len(await clock.step()) == 3


async def test_a_skewed_clock_refuses_honest_requests(trader: Any, faults: Faults) -> None:
    await faults.add("skew", offset_ms=20_000, seconds=30)
    ahead = await trader.fetch_time() - time.time() * 1000
    assert 19_000 < ahead < 21_000
    with pytest.raises(ccxt.InvalidNonce, match="-1021"):
        await trader.fetch_balance()
    await trader.load_time_difference()
    await trader.fetch_balance()


async def test_a_silent_venue_answers_nothing_until_its_time_is_over(
    trader: Any, venue: RunningVenue, faults: Faults
) -> None:
    async with Lockstep.connect(venue.url) as clock:
        await faults.add("silence", seconds=2.5)
        with pytest.raises(ccxt.RequestTimeout):
            await buy(trader, "qte-1")
        assert open_ids(venue) == []
        await clock.answer(0)
        point = await clock.next_point()
        assert (point["n"], point["user"]) == (1, 0)
        clock.point = point
        async with asyncio.timeout(5):
            while await faults.active():
                await asyncio.sleep(0.05)
        await buy(trader, "qte-1")
        assert len(await clock.step()) == 3


async def test_a_silent_clock_goes_on_by_itself_when_the_silence_is_over(
    venue: RunningVenue, faults: Faults
) -> None:
    async with Lockstep.connect(venue.url) as clock:
        await faults.add("stream_drop", event="paperPoint", times=0, seconds=0.4)
        await clock.answer(0)
        point = await clock.next_point()
        assert (point["n"], point["again"]) == (1, True)
        clock.point = point
        await clock.step()


async def test_stream_messages_are_dropped_doubled_swapped_and_late(
    trader: Any, venue: RunningVenue, faults: Faults
) -> None:
    kinds = ["NEW", "TRADE", "ACCOUNT_UPDATE"]

    async def told(clock: Lockstep, name: str, count: int) -> list[str]:
        await buy(trader, name)
        await clock.answer(clock.point["n"])
        clock.point = await clock.next_point()
        assert clock.point["user"] == 3
        events = [await clock.next_user_event() for _ in range(count)]
        return [e["o"]["x"] if "o" in e else e["e"] for e in events]

    async with Lockstep.connect(venue.url) as clock:
        assert await told(clock, "plain", 3) == kinds
        await faults.add("stream_drop", event="ORDER_TRADE_UPDATE", client_id="qte")
        assert await told(clock, "qte-1", 2) == kinds[1:]
        await faults.add("stream_duplicate", event="ORDER_TRADE_UPDATE", skip=1)
        assert await told(clock, "twice", 4) == ["NEW", "TRADE", "TRADE", "ACCOUNT_UPDATE"]
        await faults.add("stream_reorder", event="ORDER_TRADE_UPDATE", skip=1)
        assert await told(clock, "swapped", 3) == ["NEW", "ACCOUNT_UPDATE", "TRADE"]
        await faults.add("stream_reorder", event="ACCOUNT_UPDATE", delay_ms=50)
        assert await told(clock, "alone", 3) == kinds
        await faults.add("stream_delay", event="ORDER_TRADE_UPDATE", delay_ms=300)
        began = time.monotonic()
        assert await told(clock, "late", 3) == kinds
        assert time.monotonic() - began >= 0.3


async def test_closed_sockets_can_be_opened_again(
    trader: Any, venue: RunningVenue, faults: Faults
) -> None:
    async with Lockstep.connect(venue.url) as clock:
        done = await faults.add("close_sockets", event="user")
        assert done["done"] is True
        message = await clock.next_user_message()
        assert message.data == 1001
    async with Lockstep.connect(venue.url) as clock:
        await buy(trader, "qte-1")
        assert len(await clock.step()) == 3


async def test_a_gap_and_partial_fills_survive_a_restart(tmp_path: Path) -> None:
    settings = VenueSettings(venue_speed=0, venue_seed=3, venue_journal=tmp_path / "v.sqlite")
    async with (
        start_venue(settings) as venue,
        aiohttp.ClientSession() as session,
        client.exchange(venue.url) as trader,
        Lockstep.connect(venue.url) as clock,
    ):
        faults = Faults(venue.url, session)
        await faults.add("partial", client_id="qte", amount="0.25", times=0)
        await faults.add("gap", symbol="ETHUSDT", amount="-0.2", times=2)
        await faults.add("silence", event="kline")
        before = venue.exchange.engine.state.marks["ETHUSDT"]
        await trader.create_order(BTC, "market", "buy", 0.02, None, {"newClientOrderId": "qte-1"})
        first = await clock.step()
        filled = [e["o"]["l"] for e in first if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["t"]]
        assert filled == ["0.005"]
        assert venue.exchange.engine.state.marks["ETHUSDT"] < before * 9 / 10
        known = [one for one in await faults.active() if one["kind"] in ("gap", "partial")]
        assert [one["left"] for one in known] == [0, 1]
    async with (
        start_venue(settings) as venue,
        aiohttp.ClientSession() as session,
        Lockstep.connect(venue.url) as clock,
    ):
        faults = Faults(venue.url, session)
        assert await faults.active() == known
        events = await clock.steps(4)
        sizes = [e["o"]["l"] for e in events if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["t"]]
        assert sizes == ["0.005"] * 3
        assert events[-2]["o"]["X"] == "FILLED"
        assert await faults.clear() == [known[0]["id"]]
