"""Backing parts that are not seen through a connection of our own: gateway, exchange."""

from __future__ import annotations

from collections.abc import Iterable

import aiohttp

from services.analytics.core.health import Heartbeat, Part
from services.catalog.processes import EXEC_RISK

ANSWER_SECONDS = 2.0
MISSES = 2
"""Questions in a row without an answer before it counts: one may fall into a restart."""
EXCHANGE = "exchange"


class GatewayProbe:
    """Asks the gateway over HTTP. Any answer counts: what lies behind it is asked elsewhere."""

    def __init__(self, url: str) -> None:
        """Nobody is asked when the address is empty."""
        self._url = url
        self._missed = 0
        self._reason = ""

    async def ask(self) -> None:
        """Ask once."""
        if not self._url:
            return
        limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=limit) as session,
                session.get(self._url, allow_redirects=False),
            ):
                self._missed = 0
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._missed += 1
            self._reason = f"does not answer ({type(error).__name__})"

    @property
    def parts(self) -> list[Part]:
        """The gateway as it answered last; nothing when it is not asked."""
        if not self._url:
            return []
        return [Part("gateway", self._missed < MISSES, self._reason)]


def exchange(heartbeats: Iterable[Heartbeat], now: float, timeout: float) -> list[Part]:
    """Return the exchange's connection as the replicas of exec_risk tell of it.

    It is up when any of them is connected; nobody knows while none is heard.
    """
    heard = [
        part
        for beat in heartbeats
        if beat.service == EXEC_RISK.name and not beat.leaving and now - beat.seen_at <= timeout
        for part in beat.parts
        if part.name == EXCHANGE
    ]
    if not heard:
        return []
    return [next((part for part in heard if part.ready), heard[0])]
