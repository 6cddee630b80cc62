"""Operators' requests to the leader of this very process, for when PostgreSQL carries none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from services.exec_risk.core.effects import Answer, Effect
from services.exec_risk.core.inputs import Command
from services.kit.errors import Unavailable


class Direct:
    """Requests that were handed over in memory, and their answers, for one term."""

    def __init__(self, put: Callable[[Command], None]) -> None:
        self._put = put
        self._waiting: dict[str, asyncio.Future[Answer]] = {}

    def known(self, request_id: str) -> bool:
        """Tell whether a request came this way."""
        return request_id in self._waiting

    async def ask(self, command: Command, *, wait_seconds: float) -> Answer:
        """Have a command carried out; a repeated id gets the first answer.

        Unavailable when it was not answered in time; it may be carried out nevertheless.
        """
        future = self._waiting.get(command.request_id)
        if future is None:
            future = self._waiting[command.request_id] = asyncio.get_running_loop().create_future()
            self._put(command)
        done, _ = await asyncio.wait({future}, timeout=wait_seconds)
        if not done:
            raise Unavailable(
                "the leader did not answer; repeat with the same request_id",
                reason="NO_ANSWER",
                retry_seconds=1.0,
            )
        return future.result()

    def told(self, effects: Sequence[Effect]) -> None:
        """Take the answers out of what was decided and carried out."""
        if not self._waiting:
            return
        for effect in effects:
            if isinstance(effect, Answer):
                future = self._waiting.get(effect.request_id)
                if future is not None and not future.done():
                    future.set_result(effect)
