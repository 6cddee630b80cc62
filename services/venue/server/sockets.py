"""Open WebSockets: who listens to what, and sending without being held up by a slow reader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import web

from services.kit.logs import get_logger
from services.trade.ids import digest

log = get_logger(__name__)

_SEND_SECONDS = 5.0
_KEY_MS = 60 * 60_000


def encode(message: Any) -> str:
    """Return a message as compact JSON."""
    return json.dumps(message, separators=(",", ":"))


class ListenKey:
    """The key of the user stream: one an account, valid for an hour after POST or PUT.

    It is a function of the API key, so that it still holds after a restart.
    """

    def __init__(self, api_key: str, wall_ms: Callable[[], int]) -> None:
        self.value = digest("listen", api_key, length=64)
        self._wall_ms = wall_ms
        self._until = wall_ms() + _KEY_MS

    @property
    def valid(self) -> bool:
        """True until it expires or is ended."""
        return self._wall_ms() < self._until

    def create(self) -> str:
        """Return the key, valid for another hour."""
        self._until = self._wall_ms() + _KEY_MS
        return self.value

    def extend(self) -> bool:
        """Prolong a valid key; False when it has expired."""
        if not self.valid:
            return False
        self.create()
        return True

    def end(self) -> None:
        """Invalidate it until the next POST."""
        self._until = 0


class Socket:
    """One accepted WebSocket."""

    def __init__(self, ws: web.WebSocketResponse) -> None:
        self._ws = ws
        self.streams: set[str] = set()
        self.last_step = -1
        """Number of the last step whose events were sent to it."""

    async def send(self, messages: Sequence[str]) -> None:
        """Send texts in order; a reader that does not read is dropped."""
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                for text in messages:
                    await self._ws.send_str(text)
        except TimeoutError:
            log.warning("slow_socket_dropped", streams=len(self.streams))
            await self.close()
        except (ConnectionError, RuntimeError) as error:
            # The reading side notices the end of the connection and removes the socket.
            log.debug("socket_gone", error=str(error))

    async def close(self) -> None:
        """Close the connection."""
        await self._ws.close(code=1001)
