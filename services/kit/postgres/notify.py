"""Being woken by PostgreSQL: LISTEN on a connection of its own, with polling as the fallback.

A notification only says "look now". It may be lost with its connection or with a server that
hangs, so every wait also ends by itself.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg

from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.kit.postgres.db import TRANSIENT
from services.kit.postgres.login import Where, options

log = get_logger(__name__)

_CONNECT_SECONDS = 5.0
_CHECK_SECONDS = 5.0
_RETRY_SECONDS = 0.5


class Bell:
    """Rung by notifications of one payload; waiting for it ends after the fallback at the latest.

    A ring while nobody waits is kept for the next wait.
    """

    def __init__(self, payload: str, fallback_seconds: float) -> None:
        self.payload = payload
        self._fallback = fallback_seconds
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """End the wait."""
        self._rung.set()

    async def wait(self, at_most: float | None = None) -> None:
        """Return when it was rung, or after the fallback, or after `at_most` seconds."""
        seconds = self._fallback if at_most is None else min(self._fallback, at_most)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()


class Notifications:
    """Listens to one channel for as long as `run` does."""

    def __init__(
        self,
        where: Where,
        channel: str,
        clock: Clock,
        *,
        application_name: str,
        fallback_seconds: float = 1.0,
    ) -> None:
        self._where = where
        self._channel = channel
        self._clock = clock
        self._name = application_name
        self._fallback = fallback_seconds
        self._bells: set[Bell] = set()
        self.listening = False
        """True while notifications arrive, as far as is known."""

    def bell(self, payload: str) -> Bell:
        """Return a bell that a notification with this payload rings, until it is dropped."""
        bell = Bell(payload, self._fallback)
        self._bells.add(bell)
        return bell

    def drop(self, bell: Bell) -> None:
        """Forget a bell."""
        self._bells.discard(bell)

    async def run(self) -> None:
        """Listen until cancelled; a connection that is lost is opened again."""
        while True:
            try:
                await self._listen()
            except TRANSIENT as error:
                log.warning("notifications_lost", channel=self._channel, error=str(error))
            await self._clock.sleep(_RETRY_SECONDS)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(
            **options(self._where),
            timeout=_CONNECT_SECONDS,
            command_timeout=_CONNECT_SECONDS,
            server_settings={"application_name": self._name},
        )
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        try:
            await connection.add_listener(self._channel, self._notified)
            self.listening = True
            for bell in self._bells:
                # what was told before the connection was there is looked for now
                bell.ring()
            while not ended.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_CHECK_SECONDS):
                        await ended.wait()
                if not ended.is_set():
                    await connection.fetchval("select true")
            raise ConnectionResetError("the server closed the connection")
        finally:
            self.listening = False
            connection.terminate()

    def _notified(self, _: object, __: int, ___: str, payload: object) -> None:
        for bell in self._bells:
            if bell.payload == payload:
                bell.ring()
