"""Samples, sums and the state of learning in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from services.analytics.core.learning.candle_book import Chunk
from services.analytics.core.learning.samples import ENSEMBLE, Judged, Sample, Stage
from services.analytics.core.learning.spread import Quantity, Spread, spread
from services.analytics.core.learning.states import Learning
from services.analytics.core.learning.tally import NOTHING, Tally, tally
from services.analytics.learning.codec import state_from_json, state_to_json
from services.kit import outbox
from services.kit.db import Database
from services.kit.lease import Lease
from services.kit.message import Outgoing
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
_SAMPLE = """
insert into learning_samples (timestamp, venue, symbol, timeframe, model_version, model_name, stage,
    prediction, outcome, prediction_confidence, p_down, p_flat, p_up, actual_pnl_pct,
    prediction_error, in_sample)
select * from unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
    $7::text[], $8::text[], $9::text[], $10::float8[], $11::float8[], $12::float8[], $13::float8[],
    $14::float8[], $15::float8[], $16::bool[])
on conflict do nothing
"""
_TALLIES = "select * from learning_tallies where bucket = any($1::timestamptz[]) for update"
_PUT_TALLY = """
insert into learning_tallies (bucket, stage, model_version, model_name, numbers)
values ($1, $2, $3, $4, $5)
on conflict (bucket, stage, model_version, model_name) do update set numbers = excluded.numbers
"""
_SPREADS = "select * from learning_spreads where bucket = any($1::timestamptz[]) for update"
_PUT_SPREAD = """
insert into learning_spreads (bucket, stage, model_version, quantity, counts)
values ($1, $2, $3, $4, $5)
on conflict (bucket, stage, model_version, quantity) do update set counts = excluded.counts
"""
_CHUNK = """
insert into learning_candles (venue, symbol, timeframe, start, bars)
select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bytea[])
on conflict do nothing
"""
_SAVE = """
update learning_state set judged_until = $1, window_end = $2, samples = $3, unknown = $4,
    runs = $5, drifting = $6, state = $7, active_version = $8, shares_of = $9 where id = 1
"""
_TAKEN = "update learning_requests set taken = true where request_id = any($1)"
_WAITING = """
select request_id, reason from learning_requests where accepted and not taken order by asked_at
"""
_PERFORMANCE = """
insert into model_performance (model_name, metric_name, metric_value, sample_size, window_start,
    window_end, metadata) values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing
"""

TallyKey = tuple[str, str, str]
"""Stage, version, model."""


@dataclass(slots=True)
class Progress:
    """How far learning is: the one row, as the replica that learns knows it."""

    judged_until: int = 0
    """Market time up to which all outcomes are known."""
    window_end: int = 0
    """End of the window in which drift is looked for next; 0 before the first."""
    samples: int = 0
    unknown: int = 0
    runs: dict[str, int] = field(default_factory=dict)
    drifting: list[str] = field(default_factory=list)
    """Keys of findings that are drift now."""
    state: Learning = field(default_factory=Learning)
    active_version: str = ""
    shares_of: str = ""
    """Artifact for which the policy's shares were made; empty when none were."""


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
            await _write_samples(connection, judged.samples)
            await self._add_tallies(connection, judged.samples)
            await self._add_spreads(connection, judged.samples)
            await _save(connection, progress)

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
            await _save(connection, progress)
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

    def bucket(self, time: int) -> datetime:
        """Return the start of the bucket that holds a market time."""
        return to_datetime(time - time % self._bucket_ms)

    async def _ensure_days(self, days: set[int]) -> None:
        for day in sorted(days - self._days):
            low, high = to_datetime(day * DAY_MS), to_datetime((day + 1) * DAY_MS)
            # Names and bounds are made of numbers; DDL takes no parameters.
            await self._database.pool.execute(
                f"create table if not exists learning_samples_{day} partition of learning_samples"
                f" for values from ('{low:%Y-%m-%d}+00') to ('{high:%Y-%m-%d}+00')"
            )
            self._days.add(day)

    async def _add_tallies(self, connection: Any, samples: Sequence[Sample]) -> None:
        groups: dict[tuple[datetime, str, str, str], list[Sample]] = {}
        for s in samples:
            bucket = self.bucket(s.answer.candle_open)
            key = (bucket, s.answer.stage.value, s.answer.model_version, s.model)
            groups.setdefault(key, []).append(s)
        known = {
            (r["bucket"], r["stage"], r["model_version"], r["model_name"]): r["numbers"]
            for r in await connection.fetch(_TALLIES, sorted({k[0] for k in groups}))
        }
        rows = []
        for key, found in groups.items():
            before = Tally.from_numbers(known[key]) if key in known else NOTHING
            rows.append((*key, (before + tally(found)).numbers()))
        await connection.executemany(_PUT_TALLY, rows)

    async def _add_spreads(self, connection: Any, samples: Sequence[Sample]) -> None:
        groups: dict[tuple[datetime, str, str, str], list[float]] = {}
        for s in samples:
            if s.model != ENSEMBLE:
                continue
            place = (self.bucket(s.answer.candle_open), s.answer.stage.value)
            for quantity, value in _watched(s).items():
                key = (*place, s.answer.model_version, quantity.value)
                groups.setdefault(key, []).append(value)
        known = {
            (r["bucket"], r["stage"], r["model_version"], r["quantity"]): r["counts"]
            for r in await connection.fetch(_SPREADS, sorted({k[0] for k in groups}))
        }
        rows = []
        for key, values in groups.items():
            found = spread(Quantity(key[3]), values)
            if key in known:
                found = found + Spread(tuple(known[key]))
            rows.append((*key, list(found.counts)))
        await connection.executemany(_PUT_SPREAD, rows)


def progress_of(row: Any) -> Progress:
    """Read the one row."""
    return Progress(
        judged_until=_time(row["judged_until"]),
        window_end=_time(row["window_end"]),
        samples=row["samples"],
        unknown=row["unknown"],
        runs=json.loads(row["runs"]),
        drifting=json.loads(row["drifting"]),
        state=state_from_json(row["state"]),
        active_version=row["active_version"],
        shares_of=row["shares_of"],
    )


def _watched(sample: Sample) -> dict[Quantity, float]:
    return {
        Quantity.CONFIDENCE: sample.confidence,
        Quantity.RETURN: sample.outcome.last_return,
        Quantity.ATR: sample.outcome.atr,
    }


async def _save(connection: Any, progress: Progress) -> None:
    await connection.execute(
        _SAVE,
        to_datetime(progress.judged_until) if progress.judged_until else None,
        to_datetime(progress.window_end) if progress.window_end else None,
        progress.samples,
        progress.unknown,
        json.dumps(progress.runs),
        json.dumps(progress.drifting),
        state_to_json(progress.state),
        progress.active_version,
        progress.shares_of,
    )


async def _write_samples(connection: Any, samples: Sequence[Sample]) -> None:
    if not samples:
        return
    rows = [_row(s) for s in samples]
    await connection.execute(_SAMPLE, *(list(column) for column in zip(*rows, strict=True)))


def _row(s: Sample) -> tuple[Any, ...]:
    key = s.answer.series
    return (
        to_datetime(s.answer.candle_open),
        key.venue,
        key.symbol,
        key.timeframe,
        s.answer.model_version,
        s.model,
        s.answer.stage.value,
        s.prediction,
        s.outcome.name,
        s.confidence,
        *s.probabilities,
        s.outcome.move * 100,
        s.log_loss,
        s.answer.in_sample,
    )


def _time(value: datetime | None) -> int:
    return 0 if value is None else from_datetime(value)


__all__ = ["Batch", "LearningStore", "Progress", "Stage", "TallyKey", "progress_of"]
