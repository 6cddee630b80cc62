"""What people asked of the portfolio's balance, in PostgreSQL: any replica asks, one does it."""

from __future__ import annotations

from typing import Any

from services.kit.errors import AlreadyExists, FailedPrecondition
from services.kit.postgres.db import Database
from services.trade.times import from_datetime, to_datetime

_ASK = """
insert into rebalance_requests (request_id, account, reason) values ($1, $2, $3)
on conflict (request_id) do nothing
"""
_LAST_ROUND = "select time from portfolio where account = $1"
_BEGINNING = 1000


class RebalanceRequests:
    """Requests for balance at the next round."""

    def __init__(self, database: Database, *, enabled: bool) -> None:
        """`enabled`: False where no layer decides rounds, so that nobody would do it."""
        self._database = database
        self._enabled = enabled

    async def ask(self, account: str, reason: str, request_id: str) -> int:
        """Keep a request and return the market time of the round that it follows.

        A repeated id asks for nothing new; AlreadyExists when it was another account's,
        FailedPrecondition when no layer runs.
        """
        if not self._enabled:
            raise FailedPrecondition(
                "no layer of the fund runs: set HFOS_ENABLED, PBA_ENABLED or PAL_ENABLED",
                reason="LAYERS_OFF",
            )
        await self._database.pool.execute(_ASK, request_id, account, reason)
        known = await self._database.pool.fetchval(
            "select account from rebalance_requests where request_id = $1", request_id
        )
        if known != account:
            raise AlreadyExists(f"request_id {request_id} was used for another request")
        last = await self._database.pool.fetchval(_LAST_ROUND, account)
        return _BEGINNING if last is None else from_datetime(last)


async def take(connection: Any, account: str, round_time: int) -> list[str]:
    """Mark the open requests as done by a round and return their reasons."""
    rows = await connection.fetch(
        "update rebalance_requests set done_at_round = $2"
        " where account = $1 and done_at_round is null returning reason",
        account,
        to_datetime(round_time),
    )
    return [row["reason"] for row in rows]
