"""The way between a replica and a server: latency, and what a killed sender cannot take back."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable
from typing import Generic, TypeVar

from services.lab.simulation.virtual_loop import VirtualLoop

T = TypeVar("T")
_WORLD = contextvars.Context()


class Answer(Generic[T]):
    """One request's answer as it will come back: a value or an exception."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.future: asyncio.Future[T] = loop.create_future()

    def give(self, value: T) -> None:
        """Answer, unless nobody waits any more."""
        if not self.future.done():
            self.future.set_result(value)

    def fail(self, error: Exception) -> None:
        """Let the request fail."""
        if not self.future.done():
            self.future.set_exception(error)
            # a killed sender never looks at it
            self.future.exception()


class Network:
    """Carries requests: what was sent arrives whatever becomes of the sender."""

    def __init__(self, loop: VirtualLoop, dice: random.Random) -> None:
        self.loop = loop
        self._dice = dice

    def later(self, seconds: float, callback: Callable[[], object]) -> None:
        """Do something in the world, whoever asks for it and whatever becomes of him."""
        self.loop.call_later(seconds, callback, context=_WORLD)

    def hop(self, longest: float = 0.03) -> float:
        """Return the latency of one way in seconds."""
        return self._dice.uniform(0.0005, longest)

    async def ask(self, act: Callable[[], T], *, longest: float = 0.03) -> T:
        """Carry a request there and its answer back."""
        answer: Answer[T] = Answer(self.loop)
        back = self.hop(longest)

        def arrive() -> None:
            try:
                value = act()
            except Exception as error:  # noqa: BLE001 - it is the answer
                failure = error
                self.later(back, lambda: answer.fail(failure))
            else:
                self.later(back, lambda: answer.give(value))

        self.later(self.hop(longest), arrive)
        return await answer.future

    async def wait(self, seconds: float) -> None:
        """Wait, as a caller does whose request hangs."""
        await asyncio.sleep(seconds)
