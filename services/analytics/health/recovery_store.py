"""What self-healing asked for and remembers, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from services.analytics.core.healing.rules import Histories, History, Who
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Lease

_HISTORY = """
insert into recovery_histories (service, instance, asked, touched_at, given_up, reason, drained,
    well_since)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (service, instance) do update set asked = excluded.asked,
    touched_at = excluded.touched_at, given_up = excluded.given_up, reason = excluded.reason,
    drained = excluded.drained, well_since = excluded.well_since
"""
_ASK = """
insert into recoveries (recovery_id, action, service, instance, reason, asked, asked_at)
values ($1, $2, $3, $4, $5, true, $6)
"""
_DONE = """
insert into recoveries as r (recovery_id, action, service, instance, reason, asked, asked_at, done,
    answer, done_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $5, $7)
on conflict (recovery_id) do update set done = excluded.done, answer = excluded.answer,
    done_at = excluded.done_at
where r.done_at is null
returning recovery_id
"""


class RecoveryStore:
    """Written by the one replica that holds the lease."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease

    async def load(self) -> dict[Who, History]:
        """Return what is remembered of each replica."""
        rows = await self._database.pool.fetch("select * from recovery_histories")
        return {
            (row["service"], row["instance"]): History(
                asked=tuple(at.timestamp() for at in row["asked"]),
                touched_at=row["touched_at"].timestamp(),
                given_up=row["given_up"],
                reason=row["reason"],
                drained=row["drained"],
                well_since=None if row["well_since"] is None else row["well_since"].timestamp(),
            )
            for row in rows
        }

    async def save(
        self, before: Histories, now: Histories, asked: Mapping[str, tuple[Any, ...]]
    ) -> None:
        """Write what changed, and requests before they are made; Fenced when it is not ours."""
        changed = {who: h for who, h in now.items() if before.get(who) != h}
        gone = before.keys() - now.keys()
        if not (changed or gone or asked):
            return
        async with self._database.transaction() as connection:
            await self._lease.fence(connection)
            await connection.executemany(_HISTORY, [_row(w, h) for w, h in changed.items()])
            for who in gone:
                await connection.execute(
                    "delete from recovery_histories where service = $1 and instance = $2", *who
                )
            await connection.executemany(_ASK, [(i, *row) for i, row in asked.items()])

    async def done(
        self,
        recovery_id: str,
        action: str,
        service: str,
        instance: str,
        reason: str,
        *,
        asked: bool,
        at: float,
        done: bool,
    ) -> bool:
        """Write what a supervisor told; False when it is known already."""
        written = await self._database.pool.fetchval(
            _DONE, recovery_id, action, service, instance, reason, asked, _moment(at), done
        )
        return written is not None


def _row(who: Who, history: History) -> tuple[Any, ...]:
    return (
        *who,
        [_moment(at) for at in history.asked],
        _moment(history.touched_at),
        history.given_up,
        history.reason,
        history.drained,
        None if history.well_since is None else _moment(history.well_since),
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
