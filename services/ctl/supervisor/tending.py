"""What is kept fresh beside the processes: logs, certificates, the credentials of the door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from services.ctl.supervisor.home import Refused

_FAILURES = (OSError, ValueError, TypeError, Refused)
"""No room, no right, a file that somebody damaged."""


@dataclass(frozen=True, slots=True)
class Tended:
    """One of them."""

    stage: int
    """Of the processes beside which a failure is told."""
    trouble: str
    """What a failure means, in words."""
    pause: float
    """Seconds between two looks."""
    look: Callable[[], object]
    """Renews what has to be; may block."""


class Tending:
    """Looks at each again and again; a failure is told until a look succeeds."""

    def __init__(self, tended: Iterable[Tended]) -> None:
        """Nothing is looked at before `begin`."""
        self._tended = tuple(tended)
        self._troubles: dict[Tended, str] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Look from now on."""
        self._tasks = [
            asyncio.create_task(self._tend(one), name=one.trouble) for one in self._tended
        ]

    def end(self) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()

    def trouble(self, stage: int) -> str:
        """Return what fails and concerns a stage; empty while nothing does."""
        return "; ".join(said for one, said in self._troubles.items() if one.stage == stage)

    async def _tend(self, one: Tended) -> None:
        while True:
            try:
                await asyncio.to_thread(one.look)
                self._troubles.pop(one, None)
            except _FAILURES as error:
                self._troubles[one] = f"{one.trouble}: {error}"
            await asyncio.sleep(one.pause)
