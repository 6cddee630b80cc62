"""Open WebSockets: who listens to what, and sending without being held up by a slow reader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from services.kit.observe.logs import get_logger
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


@dataclass(frozen=True, slots=True)
class Parcel:
    """A text on its way to a socket."""

    text: str
    delay_ms: int = 0
    """Wall time for which it, and all that follows on its socket, waits."""
    swap_ms: int = 0
    """Longest wall time for which it waits to let the next message go first; 0: it does not."""


class Socket:
    """One accepted WebSocket."""

    def __init__(self, ws: web.WebSocketResponse) -> None:
        self._ws = ws
        self._waiting: list[Parcel] = []
        self._swapped: list[Parcel] = []
        self._tasks: set[asyncio.Task[Any] | None] = set()
        self.streams: set[str] = set()
        self.last_step = -1
        """Number of the last step whose events were sent to it."""

    async def send(self, parcels: Sequence[str | Parcel]) -> None:
        """Send texts in order; a reader that does not read is dropped."""
        for parcel in parcels:
            await self._take(Parcel(parcel) if isinstance(parcel, str) else parcel)

    async def close(self) -> None:
        """Close the connection."""
        for task in self._tasks - {asyncio.current_task()}:
            if task is not None:
                task.cancel()
        await self._ws.close(code=1001)

    async def _take(self, parcel: Parcel) -> None:
        if self._waiting:
            self._waiting.append(parcel)
        elif parcel.delay_ms:
            self._waiting.append(parcel)
            self._later(self._flush())
        elif parcel.swap_ms and not self._swapped:
            self._swapped.append(parcel)
            self._later(self._swap_after(parcel.swap_ms))
        else:
            await self._write(parcel.text)
            await self._swap()

    async def _flush(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._waiting[0].delay_ms / 1000)
            await self._write(self._waiting[0].text)
            del self._waiting[0]

    async def _swap_after(self, milliseconds: int) -> None:
        await asyncio.sleep(milliseconds / 1000)
        await self._swap()

    async def _swap(self) -> None:
        while self._swapped:
            await self._write(self._swapped.pop().text)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="venue-late-message")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, text: str) -> None:
        try:
            async with asyncio.timeout(_SEND_SECONDS):
                await self._ws.send_str(text)
        except TimeoutError:
            log.warning("slow_socket_dropped", streams=len(self.streams))
            await self.close()
        except (ConnectionError, RuntimeError) as error:
            # The reading side notices the end of the connection and removes the socket.
            log.debug("socket_gone", error=str(error))
