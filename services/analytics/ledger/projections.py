"""What new events do to the projections: loaded, computed and written in three steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from services.analytics.core.ledger import Fact, LedgerEvent, PredictionFact, SignalFact
from services.analytics.ledger import books_store
from services.trade.times import to_datetime

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


class Change:
    """What the facts of some events change, within one transaction."""

    def __init__(self, facts: Sequence[Fact]) -> None:
        self._predictions = [f for f in facts if isinstance(f, PredictionFact)]
        self._facts = [f for f in facts if not isinstance(f, PredictionFact)]
        self._loaded: books_store.Loaded | None = None
        self._changed: books_store.Changed | None = None

    @classmethod
    async def begin(cls, connection: Any, events: Iterable[LedgerEvent]) -> Change:
        """Lock the books that the events touch, and load that part of them."""
        change = cls([fact for event in events for fact in event.facts])
        if await change._lock(connection):
            change._loaded = await books_store.load(connection, change._facts)
        return change

    @classmethod
    async def lock(cls, connection: Any, events: Iterable[LedgerEvent]) -> None:
        """Lock the books only: events are always written under the locks of their books."""
        await cls([fact for event in events for fact in event.facts])._lock(connection)

    async def _lock(self, connection: Any) -> bool:
        accounts = books_store.accounts_of(self._facts)
        touches = bool(accounts) or any(isinstance(fact, SignalFact) for fact in self._facts)
        if touches:
            await books_store.lock_accounts(connection, accounts)
        return touches

    def compute(self) -> None:
        """Make the changed rows; nothing is asked of the database."""
        if self._loaded is not None:
            self._loaded.books.apply_all(self._facts)
            self._changed = books_store.changes(self._loaded.books, self._loaded.written)

    async def write(self, connection: Any) -> None:
        """Write what was computed."""
        if self._predictions:
            await _predict(connection, self._predictions)
        if self._changed is not None:
            await books_store.write(connection, self._changed)


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
