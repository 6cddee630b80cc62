"""The venue is the market's clock: pace, order of messages, what a late client is told."""

from __future__ import annotations

import asyncio
import gzip
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from services.venue.app import RunningVenue, start_venue
from services.venue.settings import VenueSettings
from tests.integration.venue.client import KEY, Lockstep

KLINES = ("btcusdt@kline_1m", "ethusdt@kline_1m", "btcusdt@kline_5m")


async def listen_key(session: aiohttp.ClientSession, url: str) -> str:
    """Return the listen key."""
    answer = await session.post(f"{url}/fapi/v1/listenKey", headers={"X-MBX-APIKEY": KEY})
    return str((await answer.json())["listenKey"])


def websocket(venue: RunningVenue, path: str) -> str:
    """Return the address of a socket."""
    return f"{venue.ws_url}{path}"


async def test_market_waits_for_clock_client_and_user_stream() -> None:
    settings = VenueSettings(venue_speed=0, venue_pace="free")
    async with (
        start_venue(settings) as venue,
        aiohttp.ClientSession() as session,
        session.ws_connect(websocket(venue, "/paper/ws")) as paper,
    ):
        first = await paper.receive_json(timeout=5)
        assert (first["n"], first["again"], first["user"]) == (0, True, 0)
        await asyncio.sleep(0.1)
        assert venue.exchange.number == 0
        key = await listen_key(session, venue.url)
        async with session.ws_connect(websocket(venue, f"/private/ws?listenKey={key}")):
            assert (await paper.receive_json(timeout=5))["n"] == 1
            assert (await paper.receive_json(timeout=5))["n"] == 2


async def test_lockstep_waits_for_the_answer_to_this_very_step() -> None:
    settings = VenueSettings(venue_speed=0)
    async with start_venue(settings) as venue, Lockstep.connect(venue.url) as clock:
        await clock.steps(3)
        await clock.answer(2)
        await asyncio.sleep(0.1)
        assert venue.exchange.number == 3
        await clock.step()
        assert venue.exchange.number == 4


async def test_unknown_listen_key_gets_no_user_stream() -> None:
    async with start_venue(VenueSettings()) as venue, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(websocket(venue, "/private/ws?listenKey=wrong"))


async def test_closed_klines_are_told_once_a_candle_before_the_point() -> None:
    settings = VenueSettings(venue_speed=0)
    async with start_venue(settings) as venue, Lockstep.connect(venue.url, KLINES) as clock:
        points = []
        for _ in range(20):
            await clock.step()
            points.append(clock.point)
        closes = [p for p in points if p["klines"]]
        assert [p["n"] for p in closes] == [4, 8, 12, 16, 20]
        told = await clock.closed_klines(11)
        minute = [e for e in told if e["s"] == "BTCUSDT" and e["k"]["i"] == "1m"]
        assert [e["pn"] for e in minute] == [4, 8, 12, 16, 20]
        for event in minute:
            candle = venue.exchange.market.candle("BTCUSDT", event["k"]["t"])
            assert candle is not None
            assert Decimal(event["k"]["c"]) == candle.close
            assert Decimal(event["k"]["h"]) == candle.high
        (five,) = [e for e in told if e["k"]["i"] == "5m"]
        assert five["pn"] == 20
        assert Decimal(five["k"]["h"]) == max(Decimal(e["k"]["h"]) for e in minute)


async def test_late_subscriber_is_told_the_candle_that_closed_at_this_step() -> None:
    """A client that died on a close must see the round again."""
    async with start_venue(VenueSettings(venue_speed=0)) as venue:
        async with Lockstep.connect(venue.url) as clock:
            await clock.steps(4)
        async with Lockstep.connect(venue.url, KLINES[:1]) as clock:
            assert clock.point["again"] is True and clock.point["n"] == 4
            (event,) = await clock.closed_klines(1)
            assert (event["pn"], event["k"]["x"]) == (4, True)


async def test_recorded_market_plays_to_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "recording"
    folder.mkdir()
    write_recording(folder, "BTCUSDT", first=0, count=503, price="100.5")
    write_recording(folder, "ETHUSDT", first=60_000, count=502, price="3.25")
    settings = VenueSettings(venue_speed=0, venue_market=str(folder))
    async with start_venue(settings) as venue:
        assert venue.exchange.market.start == 501 * 60_000
        async with Lockstep.connect(venue.url) as clock:
            await clock.steps(8)
            assert clock.point["ended"] is True
            assert clock.point["klines"] == ["BTCUSDT", "ETHUSDT"]
            async with asyncio.timeout(5):
                await venue.stepping


def write_recording(folder: Path, symbol: str, *, first: int, count: int, price: str) -> None:
    """Write a file of flat candles."""
    lines = ["symbol,timeframe,open_time_ms,open,high,low,close,volume"]
    for number in range(count):
        row = (symbol, "1m", str(first + number * 60_000), *[price] * 4, "12.5")
        lines.append(",".join(row))
    with gzip.open(folder / f"{symbol}_1m.csv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
