"""The real ccxt.pro client on a local venue, and a hand on the venue's clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

KEY, SECRET = "paper-key", "paper-secret"
BTC = "BTC/USDT:USDT"


def config(url: str) -> dict[str, Any]:
    """Return a ccxt configuration with which nothing is left that points to the internet."""
    import ccxt

    ws = url.replace("http://", "ws://", 1)
    defaults = ccxt.binanceusdm()
    api: dict[str, Any] = {
        name: f"{url}/none" for name, value in defaults.urls["api"].items() if name != "ws"
    }
    for version, suffix in (("v1", ""), ("v2", "V2"), ("v3", "V3")):
        for kind in ("Public", "Private"):
            api[f"fapi{kind}{suffix}"] = f"{url}/fapi/{version}"
    api["fapiData"] = f"{url}/futures/data"
    markets = ("spot", "margin", "linear", "inverse", "future", "delivery", "papi", "public")
    api["ws"] = {
        **dict.fromkeys(markets, f"{ws}/ws"),
        "ws-api": dict.fromkeys(("spot", "linear", "inverse", "future"), f"{ws}/ws-api"),
    }
    return {
        "apiKey": KEY,
        "secret": SECRET,
        "enableRateLimit": False,
        "urls": {"api": api},
        "exceptions": {"exact": dict(defaults.exceptions["linear"]["exact"])},
        "options": {
            "fetchCurrencies": False,
            "fetchMargins": False,
            "warnOnFetchOpenOrdersWithoutSymbol": False,
        },
    }


@asynccontextmanager
async def exchange(url: str, **changes: Any) -> AsyncIterator[Any]:
    """Run a ccxt.pro client whose markets are loaded."""
    import ccxt.pro

    client = ccxt.pro.binanceusdm({**config(url), **changes})
    try:
        await client.load_markets()
        yield client
    finally:
        await client.close()


class Lockstep:
    """A client of `/paper/ws` with a user stream of its own, reading raw events."""

    def __init__(self, paper: Any, user: Any, market: Any) -> None:
        self._paper = paper
        self._user = user
        self._market = market
        self.point: dict[str, Any] = {}
        self.user: list[dict[str, Any]] = []
        """All user events so far."""

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, streams: tuple[str, ...] = ()) -> AsyncIterator[Lockstep]:
        """Connect the user stream first, then the clock."""
        ws = url.replace("http://", "ws://", 1)
        async with aiohttp.ClientSession() as session:
            answer = await session.post(f"{url}/fapi/v1/listenKey", headers={"X-MBX-APIKEY": KEY})
            key = (await answer.json())["listenKey"]
            async with (
                session.ws_connect(f"{ws}/private/ws?listenKey={key}") as user,
                session.ws_connect(f"{ws}/market/ws") as market,
                session.ws_connect(f"{ws}/paper/ws") as paper,
            ):
                made = cls(paper, user, market)
                if streams:
                    await market.send_json({"method": "SUBSCRIBE", "params": streams, "id": 1})
                    assert (await market.receive_json(timeout=5))["result"] is None
                made.point = await paper.receive_json(timeout=5)
                yield made

    async def step(self) -> list[dict[str, Any]]:
        """Let the market make one step; return its user events."""
        await self.answer(self.point["n"])
        self.point = await self._paper.receive_json(timeout=10)
        told = [await self._user.receive_json(timeout=5) for _ in range(self.point["user"])]
        self.user += told
        return told

    async def answer(self, number: int) -> None:
        """Say that everything up to a step is handled."""
        await self._paper.send_json({"idle": number})

    async def next_point(self) -> dict[str, Any]:
        """Return the clock's next message."""
        return dict(await self._paper.receive_json(timeout=10))

    async def next_user_event(self) -> dict[str, Any]:
        """Return the user stream's next event."""
        return dict(await self._user.receive_json(timeout=5))

    async def next_user_message(self) -> aiohttp.WSMessage:
        """Return whatever the user stream brings next, its end too."""
        message: aiohttp.WSMessage = await self._user.receive(timeout=5)
        return message

    async def steps(self, count: int) -> list[dict[str, Any]]:
        """Make several steps; return their user events."""
        return [event for _ in range(count) for event in await self.step()]

    async def until(
        self, done: Callable[[dict[str, Any]], bool], most: int = 400
    ) -> dict[str, Any]:
        """Step until a user event is what is waited for, and return it."""
        for _ in range(most):
            for event in await self.step():
                if done(event):
                    return event
        raise AssertionError(f"not seen within {most} steps")

    async def closed_klines(self, count: int) -> list[dict[str, Any]]:
        """Read market events until this many closed klines have come."""
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(10):
            while len(found) < count:
                event = json.loads((await self._market.receive()).data)
                if event.get("e") == "kline" and event["k"]["x"]:
                    found.append(event)
        return found
