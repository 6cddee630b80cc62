"""The paper venue's own socket: tells the points of market time, takes `idle`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import aiohttp

from services.exec_risk.core.exchange_events import PointReached, PriceReport
from services.exec_risk.exchange.parse import decimal
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

HEARTBEAT_SECONDS = 2.0
RETRY_SECONDS = 0.25


def parse_point(raw: dict[str, Any], followed: frozenset[str]) -> tuple[PointReached, int]:
    """Return a point and how many user events its step has; symbols only those followed."""
    closed = sorted(str(symbol) for symbol in raw.get("klines", ()))
    point = PointReached(
        number=int(raw["n"]),
        time=int(raw["T"]),
        closed_symbols=tuple(s for s in closed if not followed or s in followed),
        lockstep=raw.get("pace", "lockstep") == "lockstep",
        ended=bool(raw.get("ended", False)),
    )
    return point, int(raw.get("user", 0))


def parse_prices(raw: dict[str, Any]) -> list[PriceReport]:
    """Return the prices that a point tells, by symbol; ValueError when one makes no sense."""
    return [
        PriceReport(
            symbol=symbol,
            time=int(raw["T"]),
            mark=decimal(told, "p"),
            bid=decimal(told, "b"),
            ask=decimal(told, "a"),
            funding_rate=decimal(told, "r"),
            next_funding_time=int(told["T"]),
        )
        for symbol, told in sorted(raw.get("prices", {}).items())
    ]


class PaperClock:
    """Keeps the socket open, hands points on, and answers again what a lost socket swallowed."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        followed: Callable[[], frozenset[str]],
        ready: Callable[[], bool],
        on_point: Callable[[PointReached, int, Sequence[PriceReport]], None],
        on_closed: Callable[[frozenset[str]], None],
        on_down: Callable[[str], None],
    ) -> None:
        self._url = url
        self._clock = clock
        self._followed = followed
        self._ready = ready
        self._on_point = on_point
        self._on_closed = on_closed
        self._on_down = on_down
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._answered = -1
        self._newest = 0

    async def run(self) -> None:
        """Follow the socket until cancelled."""
        async with aiohttp.ClientSession() as session:
            while True:
                # answering or reading before the event sockets are up would lose the next step
                while not self._ready():
                    await self._clock.sleep(0.02)
                reason = await self._follow(session)
                self._on_down(reason)
                await self._clock.sleep(RETRY_SECONDS)

    async def idle(self, number: int) -> None:
        """Answer a point; when a socket is down, as soon as all are up again."""
        self._answered = max(self._answered, number)
        await self.repeat()

    async def repeat(self) -> None:
        """Answer the newest point if it is done: a lost socket may have swallowed the answer."""
        if self._socket is None or not self._ready() or self._newest > self._answered:
            return
        try:
            await self._socket.send_str(json.dumps({"idle": self._newest}))
        except (aiohttp.ClientError, OSError) as error:
            log.warning("paper_idle_unsent", point=self._newest, error=str(error))

    async def _follow(self, session: aiohttp.ClientSession) -> str:
        try:
            async with session.ws_connect(
                self._url, heartbeat=HEARTBEAT_SECONDS, max_msg_size=0
            ) as socket:
                self._socket = socket
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        await self._take(json.loads(message.data))
                return f"closed with code {socket.close_code}"
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError, KeyError) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            self._socket = None

    async def _take(self, raw: dict[str, Any]) -> None:
        if raw.get("e") != "paperPoint":
            return
        point, user_events = parse_point(raw, self._followed())
        self._newest = point.number
        self._on_closed(frozenset(map(str, raw.get("klines", ()))))
        self._on_point(point, user_events, parse_prices(raw))
        await self.repeat()
