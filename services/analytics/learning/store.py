"""What learning reads and writes in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from services.analytics.core.learning.candle_book import Chunk
from services.analytics.core.learning.samples import Judged
from services.analytics.learning.progress import Progress, progress_of, save_progress
from services.analytics.learning.samples_store import (
    TallyKey,
    add_spreads,
    add_tallies,
    write_samples,
)
from services.kit.bus.message import Outgoing
from services.kit.postgres import outbox
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Lease
from services.trade.times import DAY_MS, from_datetime, to_datetime

KEEP_SUMS_DAYS = 31
_PREDICTIONS = """
select event_id, timestamp, payload from events e
where type = 'prediction' and timestamp > $1 and timestamp <= $2 and not exists (
    select 1 from learning_judged j where j.timestamp = e.timestamp and j.event_id = e.event_id)
order by timestamp, event_id limit $3
"""
_JUDGED = """
insert into learning_judged (event_id, timestamp)
select * from unnest($1::text[], $2::timestamptz[])
"""
_CHUNK = """
insert into learning_candles (venue, symbol, timeframe, start, bars)
select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bytea[])
on conflict do nothing
"""
_TAKEN = "update learning_requests set taken = true where request_id = any($1)"
_WAITING = """
select request_id, reason from learning_requests where accepted and not taken order by asked_at
"""
_PERFORMANCE = """
insert into model_performance (model_name, metric_name, metric_value, sample_size, window_start,
    window_end, metadata) values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Recorded prediction batches that were not judged yet, the oldest first."""

    events: Sequence[tuple[str, int]]
    """Id and market time of each."""
    payloads: Sequence[bytes]


class LearningStore:
    """What the learning replica writes; every write is bound to its lease."""

    def __init__(self, database: Database, lease: Lease, *, bucket_ms: int) -> None:
        self._database = database
        self._lease = lease
        self._bucket_ms = bucket_ms
        self._days: set[int] = set()

    async def load(self) -> Progress:
        """Return how far learning was."""
        row = await self._database.pool.fetchrow("select * from learning_state where id = 1")
        return progress_of(row)

    async def predictions(self, after: int, until: int, most: int) -> Batch:
        """Return up to `most` batches of the market times (after, until]."""
        rows = await self._database.pool.fetch(
            _PREDICTIONS, to_datetime(after), to_datetime(until), most
        )
        events = [(r["event_id"], from_datetime(r["timestamp"])) for r in rows]
        return Batch(events, [r["payload"] for r in rows])

    async def keep_candles(self, chunks: Sequence[Chunk]) -> None:
        """Store chunks; one that is there stays."""
        await self._database.pool.execute(
            _CHUNK,
            [c.key.venue for c in chunks],
            [c.key.symbol for c in chunks],
            [c.key.timeframe for c in chunks],
            [to_datetime(c.start) for c in chunks],
            [np.ascontiguousarray(c.bars, dtype="<f8").tobytes() for c in chunks],
        )

    async def record(self, batch: Batch, judged: Judged, progress: Progress) -> None:
        """Write samples, sums and what they were made of, once, in one transaction."""
        await self._ensure_days({s.answer.candle_open // DAY_MS for s in judged.samples})
        async with self._database.transaction() as connection:
            await self._lease.fence(connection)
            times = [to_datetime(time) for _, time in batch.events]
            await connection.execute(_JUDGED, [name for name, _ in batch.events], times)
            await write_samples(connection, judged.samples)
            await add_tallies(connection, judged.samples, self._bucket_ms)
            await add_spreads(connection, judged.samples, self._bucket_ms)
            await save_progress(connection, progress)

    async def save(
        self,
        progress: Progress,
        told: Sequence[Outgoing] = (),
        taken: Sequence[str] = (),
        also: Callable[[Any], Awaitable[None]] | None = None,
    ) -> None:
        """Write the state, the facts that tell of it, and which requests it answers.

        `also` writes through the same transaction.
        """
        async with self._database.transaction() as connection:
            await self._lease.fence(connection)
            await save_progress(connection, progress)
            await connection.execute(_TAKEN, list(taken))
            if also is not None:
                await also(connection)
            await outbox.put(connection, told)

    async def requests(self) -> list[tuple[str, str]]:
        """Return id and reason of the requests that were accepted and wait."""
        rows = await self._database.pool.fetch(_WAITING)
        return [(row["request_id"], row["reason"]) for row in rows]

    async def tell_performance(
        self, values: Mapping[TallyKey, Mapping[str, float]], start: int, end: int, samples: int
    ) -> None:
        """Write the guide's table for a window."""
        rows = [
            (
                model,
                metric,
                value,
                samples,
                to_datetime(start),
                to_datetime(end),
                json.dumps({"stage": stage, "model_version": version}),
            )
            for (stage, version, model), metrics in values.items()
            for metric, value in metrics.items()
        ]
        await self._database.pool.executemany(_PERFORMANCE, rows)

    async def purge(self, now: int, *, judged: int, sample_days: int, candle_days: float) -> None:
        """Forget samples, sums and candles older than is kept, and events judged long ago."""
        pool = self._database.pool
        await pool.execute("delete from learning_judged where timestamp < $1", to_datetime(judged))
        oldest = now // DAY_MS - sample_days
        rows = await pool.fetch(
            "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
            " where i.inhparent = 'learning_samples'::regclass"
        )
        for row in rows:
            if int(row["relname"].rsplit("_", 1)[1]) < oldest:
                await pool.execute(f"drop table {row['relname']}")
        sums = to_datetime(now) - timedelta(days=KEEP_SUMS_DAYS)
        for table in ("learning_tallies", "learning_spreads"):
            await pool.execute(f"delete from {table} where bucket < $1", sums)  # noqa: S608
        candles = to_datetime(now) - timedelta(days=candle_days)
        await pool.execute("delete from learning_candles where start < $1", candles)

    async def _ensure_days(self, days: set[int]) -> None:
        for day in sorted(days - self._days):
            low, high = to_datetime(day * DAY_MS), to_datetime((day + 1) * DAY_MS)
            # Names and bounds are made of numbers; DDL takes no parameters.
            await self._database.pool.execute(
                f"create table if not exists learning_samples_{day} partition of learning_samples"
                f" for values from ('{low:%Y-%m-%d}+00') to ('{high:%Y-%m-%d}+00')"
            )
            self._days.add(day)
