"""A key of a KV bucket, followed: every stored value in order, for ever, and how long it is silent.

A bucket is a stream, so its follower survives restarts of the server, which a KV watch does not.
"""

from __future__ import annotations

from collections.abc import Callable

from services.kit.bus.bus import Bus, Follower, Message
from services.kit.clock import Clock


class FollowedKey:
    """Hands every value of one key to a handler, those that are stored first."""

    def __init__(self, *, stream: str, key: str, clock: Clock, patience: float = 60.0) -> None:
        """`patience`: seconds without a sign of the server after which the key is unreadable."""
        self._stream = stream
        self._key = key
        self._clock = clock
        self._patience = patience
        self._follower: Follower | None = None
        self._began = clock.monotonic()

    async def start(self, bus: Bus, handler: Callable[[Message], None]) -> None:
        """Begin; returns when everything that is stored was handed out."""
        self._follower = await bus.follow(self._stream, self._key, handler, start="all")
        await self._follower.caught_up.wait()

    @property
    def silent_seconds(self) -> float:
        """How long the server has given no sign; an old value is no silence."""
        if self._follower is None:
            return self._clock.monotonic() - self._began
        return self._follower.silent_seconds

    @property
    def readable(self) -> bool:
        """False while a newer value could not reach this process."""
        return self._follower is not None and self.silent_seconds < self._patience
