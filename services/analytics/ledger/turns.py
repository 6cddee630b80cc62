"""One at a time, in the order in which turns were drawn, whatever is awaited in between."""

from __future__ import annotations

import asyncio


class Turns:
    """Hands out turns."""

    def __init__(self) -> None:
        self._last: Turn | None = None

    def draw(self) -> Turn:
        """Take the next turn at once; whoever draws one must leave it."""
        before = None if self._last is None else self._last.left
        self._last = Turn(before)
        return self._last


class Turn:
    """A place in the row."""

    def __init__(self, before: asyncio.Future[None] | None) -> None:
        self._before = before
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when this one, and with it all before it, have left."""

    async def come(self) -> None:
        """Wait until all that were drawn before have left."""
        if self._before is not None:
            await asyncio.shield(self._before)

    def leave(self) -> None:
        """Let the next one come, though not before those that came before this one have left."""
        if self._before is None or self._before.done():
            self._open()
        else:
            self._before.add_done_callback(lambda _: self._open())

    def _open(self) -> None:
        if not self.left.done():
            self.left.set_result(None)
