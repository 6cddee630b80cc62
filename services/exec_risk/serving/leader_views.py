"""What a replica can tell and ask also while PostgreSQL is away, if it leads itself."""

from __future__ import annotations

import asyncio
from typing import Any

from services.exec_risk.database.request_commands import command_of
from services.exec_risk.serving.views import Views
from services.exec_risk.term.leader import Leader
from services.exec_risk.term.term import Term
from services.exec_risk.tracing.step_spans import StepSpans
from services.kit.clock import Clock
from services.kit.errors import Unavailable
from services.kit.postgres.db import Database
from services.kit.postgres.notify import Notifications
from services.trade.order import Order

HANDED_OVER = frozenset({"close_position", "emergency_stop"})
"""Requests that only lessen what is held: the leader takes them in memory when it must."""
_LOOK_SECONDS = 0.05


class LeaderViews(Views):
    """Views whose requests reach the leader of this process without the database.

    On every other replica they end with Unavailable, as the reads do.
    """

    def __init__(
        self,
        database: Database,
        account: str,
        clock: Clock,
        notifications: Notifications,
        leader: Leader,
        spans: StepSpans | None = None,
    ) -> None:
        super().__init__(database, account, clock, notifications, spans)
        self._leader = leader

    async def order(self, client_order_id: str) -> Order | None:
        """Return one order; out of the leader's book while the database is away."""
        term = self._away()
        if term is None:
            return await super().order(client_order_id)
        return term.trader.book.orders.get(client_order_id)

    async def ask_leader(
        self, request_id: str, kind: str, arguments: dict[str, str], *, wait_seconds: float
    ) -> tuple[bool, dict[str, str]]:
        """Ask the leader; what closes or stops is handed over when the database is away."""
        term = self._leader.term
        if term is not None and term.direct.known(request_id):
            return await self._hand_over(term, request_id, kind, arguments, wait_seconds)
        stored = super().ask_leader(request_id, kind, arguments, wait_seconds=wait_seconds)
        if term is None or kind not in HANDED_OVER:
            return await stored
        asking = asyncio.create_task(stored)
        deadline = self._clock.monotonic() + wait_seconds
        try:
            while not self._answered(asking, deadline):
                if term.store_away:
                    return await self._hand_over(term, request_id, kind, arguments, wait_seconds)
                await asyncio.wait({asking}, timeout=_LOOK_SECONDS)
            return asking.result()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    def _answered(self, asking: asyncio.Task[tuple[bool, dict[str, str]]], deadline: float) -> bool:
        """True with an answer; a database that is away is not one until the time is over."""
        if not asking.done():
            return False
        error = asking.exception()
        away = isinstance(error, Unavailable) and error.reason != "NO_LEADER"
        return not away or self._clock.monotonic() >= deadline

    async def _hand_over(
        self, term: Term, request_id: str, kind: str, arguments: dict[str, str], wait: float
    ) -> tuple[bool, dict[str, str]]:
        command = command_of(request_id, kind, arguments)
        with self._asking(request_id, kind):
            answer = await term.direct.ask(command, wait_seconds=wait)
        return answer.ok, dict(answer.result)

    def _away(self) -> Term | None:
        term = self._leader.term
        return term if term is not None and term.store_away else None

    async def _rows(self, statement: str, *values: Any) -> list[Any]:
        if self._away() is not None:
            raise Unavailable("the database does not answer", retry_seconds=1.0)
        return await super()._rows(statement, *values)
