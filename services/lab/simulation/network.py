"""The way between a replica and a server: latency, and what a killed sender cannot take back."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from services.lab.simulation.virtual_loop import Answer, VirtualLoop

T = TypeVar("T")

_SHORTEST = 0.0005


class Network:
    """Carries requests: what was sent arrives whatever becomes of the sender."""

    def __init__(self, loop: VirtualLoop, dice: random.Random) -> None:
        self.loop = loop
        self._draw = dice.random

    def later(self, seconds: float, callback: Callable[[], object]) -> None:
        """Do something in the world, whoever asks for it and whatever becomes of him."""
        self.loop.post(seconds, callback)

    def hop(self, longest: float = 0.03) -> float:
        """Return the latency of one way in seconds."""
        return _SHORTEST + (longest - _SHORTEST) * self._draw()

    async def ask(self, act: Callable[[], T], *, longest: float = 0.03) -> T:
        """Carry a request there and its answer back."""
        answer: Answer[T] = Answer(self.loop)
        back = self.hop(longest)

        def arrive() -> None:
            try:
                value = act()
            except Exception as error:  # noqa: BLE001 - it is the answer
                answer.come(back, None, error)
            else:
                answer.come(back, value)

        self.loop.post(self.hop(longest), arrive)
        return await answer

    async def wait(self, seconds: float) -> None:
        """Wait, as a caller does whose request hangs."""
        await self.loop.pause(seconds)
