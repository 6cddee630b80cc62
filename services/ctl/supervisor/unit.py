"""A unit: one process that the supervisor keeps running."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.ctl.servers.command import Command, Probe


def nothing() -> None:
    """Prepare nothing."""


async def no_farewell() -> None:
    """Leave at once."""


def digest(text: str) -> str:
    """Return a short name of what the text says."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Unit:
    """What runs, how it is asked, and where it stands in the order."""

    name: str
    """Instance, for example `ai-1`."""
    service: str
    """What operators call it, for example `ai`."""
    command: Command
    live: Probe
    """Fails when the process hangs: it is then killed and started again."""
    ready: Probe
    """Fails while the process cannot do its work; that alone is no reason to kill it."""
    address: str
    stage: int = 0
    """Stages start in rising order and stop in falling order."""
    port: int = 0
    """Port that must be free before the start; 0 when none."""
    stop_seconds: float = 7.0
    """Time to end in order before it is killed."""
    prepare: Callable[[], None] = nothing
    """Called before each start; may block."""
    retire: Callable[[], Awaitable[None]] = no_farewell
    """Called before a restart that was asked for; returns when callers have gone elsewhere."""

    @property
    def fingerprint(self) -> str:
        """Same when the same program would be started in the same way."""
        parts = [list(self.command.arguments), sorted(self.command.environment.items())]
        return digest(json.dumps(parts))
