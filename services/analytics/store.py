"""The sink's side of PostgreSQL: events once, and the projections of the new ones with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from services.analytics.core.ledger import LedgerEvent, PredictionFact, SignalFact
from services.analytics.ledger import books_store
from services.analytics.ledger.partitions import Partitions
from services.kit.postgres.db import Database
from services.trade.times import to_datetime

_COLUMNS = (
    "event_id", "timestamp", "type", "source", "trace_id", "key", "subject", "sequence", "data",
    "payload",
)  # fmt: skip
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
_PREDICT = """
insert into predictions (venue, symbol, timeframe, candle_open, model_version, action, confidence,
    p_down, p_flat, p_up, in_sample)
select * from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[],
    $7::float8[], $8::float8[], $9::float8[], $10::float8[], $11::bool[])
on conflict do nothing
returning model_version, candle_open, action
"""
_COUNT = """
insert into prediction_counts (model_version, day, action, predictions)
select * from unnest($1::text[], $2::date[], $3::text[], $4::bigint[])
on conflict (model_version, day, action)
do update set predictions = prediction_counts.predictions + excluded.predictions
"""
_LOCK_PREDICTIONS = "select pg_advisory_xact_lock(hashtext('analytics.predictions'))"


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
        async with self._database.transaction() as connection:
            fresh = await _insert(connection, events)
            await _project(connection, fresh)
        return len(fresh)

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


async def _insert(connection: Any, events: Sequence[LedgerEvent]) -> list[LedgerEvent]:
    """Write what is not there yet and return it.

    Nearly always all of it is new: then it is copied. What is there already, or is written by
    another replica at this moment, makes the copy fail as a whole, and is told apart row by row.
    """
    # One order in every replica, so that two that write the same events cannot deadlock.
    by_id = {(e.event_id, e.time): e for e in reversed(events)}
    ordered = [by_id[key] for key in sorted(by_id)]
    rows = [_row(event) for event in ordered]
    try:
        async with connection.transaction():
            await connection.copy_records_to_table("events", records=rows, columns=_COLUMNS)
    except asyncpg.UniqueViolationError:
        columns = [list(column) for column in zip(*rows, strict=True)]
        written = await connection.fetch(_INSERT, *columns)
        new = {(row["event_id"], row["timestamp"]) for row in written}
        return [e for e, row in zip(ordered, rows, strict=True) if (row[0], row[1]) in new]
    return ordered


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


async def _project(connection: Any, events: Sequence[LedgerEvent]) -> None:
    facts = [fact for event in events for fact in event.facts]
    predictions = [f for f in facts if isinstance(f, PredictionFact)]
    if predictions:
        await _predict(connection, predictions)
    accounts = books_store.accounts_of(facts)
    if accounts or any(isinstance(fact, SignalFact) for fact in facts):
        await books_store.lock_accounts(connection, accounts)
        loaded = await books_store.load(connection, facts)
        for fact in facts:
            loaded.books.apply(fact)
        await books_store.save(connection, loaded.books, loaded.written)


async def _predict(connection: Any, predictions: Sequence[PredictionFact]) -> None:
    await connection.execute(_LOCK_PREDICTIONS)
    by_key = {p.key: p for p in reversed(predictions)}
    ordered = [by_key[key] for key in sorted(by_key)]
    rows = await connection.fetch(
        _PREDICT,
        [p.venue for p in ordered],
        [p.symbol for p in ordered],
        [p.timeframe for p in ordered],
        [to_datetime(p.candle_open) for p in ordered],
        [p.model_version for p in ordered],
        [p.action for p in ordered],
        [p.confidence for p in ordered],
        [p.p_down for p in ordered],
        [p.p_flat for p in ordered],
        [p.p_up for p in ordered],
        [p.in_sample for p in ordered],
    )
    counts = Counter((r["model_version"], r["candle_open"].date(), r["action"]) for r in rows)
    if counts:
        models, days, actions = zip(*sorted(counts), strict=True)
        numbers = [counts[key] for key in sorted(counts)]
        await connection.execute(_COUNT, models, days, actions, numbers)
