"""The sink's side of PostgreSQL: events once, and the projections of the new ones with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from services.analytics.core.ledger import LedgerEvent
from services.analytics.ledger.event_rows import COPY_EVENTS, copy_data
from services.analytics.ledger.partitions import Partitions
from services.analytics.ledger.projections import Change
from services.kit.postgres.db import Database
from services.trade.times import to_datetime

_INSERT = """
insert into events
    (event_id, timestamp, type, source, trace_id, key, subject, sequence, data, payload)
select * from unnest(
    $1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
    $8::bigint[], $9::jsonb[], $10::bytea[])
on conflict do nothing
returning event_id, timestamp
"""
_REJECT = """
insert into rejections (stream, sequence, subject, type, reason) values ($1, $2, $3, $4, $5)
on conflict do nothing
"""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that could not be read, and why."""

    stream: str
    sequence: int
    subject: str
    type: str
    reason: str


class LedgerStore:
    """Writes batches of events."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.partitions = Partitions(database)

    async def record(self, events: Sequence[LedgerEvent]) -> int:
        """Write what is not there yet, with its projections, in one transaction.

        Returns how many events were new. Repeating the call, here or in another replica at the
        same time, changes nothing.
        """
        if not events:
            return 0
        await self.partitions.ensure(event.time for event in events)
        ordered = _in_order(events)
        try:
            async with self._database.transaction() as connection:
                await _write_new(connection, ordered)
            return len(ordered)
        except asyncpg.UniqueViolationError:
            # Some are there already, or another replica wrote them at this moment.
            async with self._database.transaction() as connection:
                return await _write_rest(connection, ordered)

    async def reject(self, rejection: Rejection) -> None:
        """Remember that a message went to the dead-letter stream: an alert is made of it."""
        # PostgreSQL holds no NUL characters in text.
        texts = (rejection.subject, rejection.type, rejection.reason)
        await self._database.pool.execute(
            _REJECT,
            rejection.stream,
            rejection.sequence,
            *(text.replace("\x00", "\\0") for text in texts),
        )


def _in_order(events: Sequence[LedgerEvent]) -> list[LedgerEvent]:
    """Return each event once, in the order of the primary key.

    One order in every replica, so that two that write the same events cannot deadlock.
    """
    by_key = {(e.time, e.event_id): e for e in reversed(events)}
    return [by_key[key] for key in sorted(by_key)]


async def _write_new(connection: Any, events: Sequence[LedgerEvent]) -> None:
    """Copy events, as nearly always, that are all new; UniqueViolationError when one is not.

    What they change is computed while the server takes them in.
    """
    change = await Change.begin(connection, events)
    copying = asyncio.ensure_future(
        connection.copy_to_table(source=copy_data(events), **COPY_EVENTS)
    )
    try:
        await asyncio.sleep(0)  # the copy is sent
        change.compute()
    finally:
        await copying
    await change.write(connection)


async def _write_rest(connection: Any, events: Sequence[LedgerEvent]) -> int:
    """Write events of which some are there; what they change is told by the new ones alone."""
    await Change.lock(connection, events)
    columns = zip(*map(_row, events), strict=True)
    written = await connection.fetch(_INSERT, *map(list, columns))
    new = {(row["event_id"], row["timestamp"]) for row in written}
    fresh = [e for e in events if (e.event_id, to_datetime(e.time)) in new]
    change = await Change.begin(connection, fresh)
    change.compute()
    await change.write(connection)
    return len(fresh)


def _row(event: LedgerEvent) -> tuple[Any, ...]:
    return (
        event.event_id,
        to_datetime(event.time),
        event.type,
        event.source,
        event.trace_id,
        event.key,
        event.subject,
        event.sequence,
        event.data,
        event.payload,
    )
