"""A killed venue comes back as the same exchange."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from services.venue.app import start_venue
from services.venue.core.snapshot import export
from services.venue.settings import VenueSettings
from services.venue.store import JournalError
from tests.integration.venue import client
from tests.integration.venue.client import BTC, Lockstep

ROOT = Path(__file__).parents[3]
SYMBOLS = ("BTCUSDT", "ETHUSDT")
ETH = "ETH/USDT:USDT"


class VenueProcess:
    """The venue as a process of its own, to be killed."""

    def __init__(self, journal: Path, port: int) -> None:
        self._environment = {
            **os.environ,
            "VENUE_JOURNAL": str(journal),
            "VENUE_LISTEN": f"127.0.0.1:{port}",
            "VENUE_SPEED": "0",
            "VENUE_SEED": "11",
            "LOG_FORMAT": "json",
        }
        self._log = journal.with_suffix(".log")
        self._process: asyncio.subprocess.Process | None = None
        self.url = f"http://127.0.0.1:{port}"

    async def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "services.venue"),
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(30), aiohttp.ClientSession() as session:
            while not await self._answers(session):
                assert self._process.returncode is None, self._log.read_text()
                await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.url}/fapi/v1/ping") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False


def free_port() -> int:
    """Return a port that is free now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def running(venue: VenueProcess) -> AsyncIterator[None]:
    """Start a venue process and end it with the block."""
    await venue.start()
    try:
        yield
    finally:
        await venue.kill()


async def everything(ccxt_client: Any, url: str) -> dict[str, Any]:
    """Return all that the exchange knows of the account and of its market."""
    async with aiohttp.ClientSession() as session:
        clock = await (await session.get(f"{url}/paper/v1/clock")).json()
    found: dict[str, Any] = {
        "clock": clock,
        "account": await ccxt_client.fapiPrivateV3GetAccount(),
        "positions": await ccxt_client.fapiPrivateV3GetPositionRisk(),
        "open": await ccxt_client.fapiPrivateGetOpenOrders(),
        "algos": await ccxt_client.fapiPrivateGetOpenAlgoOrders(),
        "config": await ccxt_client.fapiPrivateGetSymbolConfig(),
        "income": await ccxt_client.fapiPrivateGetIncome({"limit": 1000}),
    }
    for symbol in SYMBOLS:
        asked = {"symbol": symbol}
        found[f"trades.{symbol}"] = await ccxt_client.fapiPrivateGetUserTrades(asked)
        found[f"orders.{symbol}"] = await ccxt_client.fapiPrivateGetAllOrders(asked)
        found[f"candles.{symbol}"] = await ccxt_client.fapiPublicGetKlines(
            {**asked, "interval": "1m", "limit": 20}
        )
    return found


async def disturb(url: str, **fault: Any) -> None:
    """Tell the venue of a fault."""
    async with aiohttp.ClientSession(headers={"X-MBX-APIKEY": client.KEY}) as session:
        answer = await session.post(f"{url}/paper/v1/faults", json=fault)
        assert answer.status == 200, await answer.text()


async def first_act(ccxt_client: Any, clock: Lockstep, url: str) -> None:
    """Open two positions, protect one, leave orders and faults of the market on their way."""
    await ccxt_client.set_leverage(9, BTC)
    await ccxt_client.create_order(
        BTC, "market", "buy", 0.02, None, {"newClientOrderId": "entry-btc"}
    )
    await ccxt_client.create_order(
        ETH, "market", "sell", 0.5, None, {"newClientOrderId": "entry-eth"}
    )
    events = await clock.steps(300)
    price = float(
        next(e["o"]["L"] for e in events if e["e"] == "ORDER_TRADE_UPDATE" and e["o"]["t"])
    )
    stop = {"stopLossPrice": price * 0.9, "reduceOnly": True, "clientAlgoId": "stop-btc"}
    await ccxt_client.create_order(BTC, "market", "sell", 0.02, None, stop)
    resting = {"newClientOrderId": "resting"}
    await ccxt_client.create_order(BTC, "limit", "buy", 0.01, price * 0.8, resting)
    await clock.steps(3)
    moved = await ccxt_client.fetch_order(None, BTC, {"clientOrderId": "resting"})
    await ccxt_client.edit_order(moved["id"], BTC, "limit", "buy", 0.02, price * 0.7)
    await disturb(url, kind="partial", client_id="part", amount="0.25", times=0, id="shares")
    await disturb(url, kind="gap", symbol="ETHUSDT", amount="-0.01", times=50, id="gap")
    trailing = {"trailingPercent": 3, "reduceOnly": True, "clientAlgoId": "trail"}
    await ccxt_client.create_order(ETH, "market", "buy", 0.1, None, trailing)
    await ccxt_client.create_order(
        ETH, "market", "buy", 0.2, None, {"newClientOrderId": "part", "reduceOnly": True}
    )
    await ccxt_client.cancel_order(None, BTC, {"clientOrderId": "resting"})


async def second_act(clock: Lockstep) -> None:
    """Let what was on its way happen, over a funding time."""
    await clock.steps(4 * 60 * 8 - 250)


async def test_killed_venue_is_the_same_exchange(tmp_path: Path) -> None:
    """SIGKILL with orders and a cancel on their way; compared with a venue that was not killed."""
    venue = VenueProcess(tmp_path / "venue.sqlite", free_port())
    async with running(venue):
        async with client.exchange(venue.url) as before, Lockstep.connect(venue.url) as clock:
            await first_act(before, clock, venue.url)
            known = await everything(before, venue.url)
        await venue.kill()
        await venue.start()
        async with client.exchange(venue.url) as after, Lockstep.connect(venue.url) as clock:
            assert await everything(after, venue.url) == known
            assert known["clock"]["n"] == 303
            await second_act(clock)
            killed = await everything(after, venue.url)

    settings = VenueSettings(venue_speed=0, venue_seed=11)
    async with (
        start_venue(settings) as whole,
        client.exchange(whole.url) as other,
        Lockstep.connect(whole.url) as clock,
    ):
        await first_act(other, clock, whole.url)
        await second_act(clock)
        assert await everything(other, whole.url) == killed
    assert {entry["incomeType"] for entry in killed["income"]} == {
        "COMMISSION",
        "REALIZED_PNL",
        "FUNDING_FEE",
    }


async def test_restart_replays_at_most_one_snapshot_of_steps(tmp_path: Path) -> None:
    settings = VenueSettings(venue_speed=0, venue_journal=tmp_path / "venue.sqlite")
    async with start_venue(settings) as venue, Lockstep.connect(venue.url) as clock:
        await clock.steps(500)
        state = export(venue.exchange.engine.state)
        seq, snapshot = venue.exchange.journal.last_snapshot()
        assert snapshot is not None and snapshot["number"] == 480 and seq == 0
    async with start_venue(settings) as venue:
        assert export(venue.exchange.engine.state) == state


async def test_journal_of_another_market_is_refused(tmp_path: Path) -> None:
    journal = tmp_path / "venue.sqlite"
    async with start_venue(VenueSettings(venue_journal=journal, venue_seed=1)):
        pass
    with pytest.raises(JournalError, match="belongs to market generated-1, not generated-2"):
        async with start_venue(VenueSettings(venue_journal=journal, venue_seed=2)):
            pass
