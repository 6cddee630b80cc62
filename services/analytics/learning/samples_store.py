"""Judged predictions in PostgreSQL: each sample, and the sums of a bucket of market time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.analytics.core.learning.samples import ENSEMBLE, Sample
from services.analytics.core.learning.spread import Quantity, Spread, spread
from services.analytics.core.learning.tally import NOTHING, Tally, tally
from services.trade.times import to_datetime

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

TallyKey = tuple[str, str, str]
"""Stage, version, model."""


def bucket_of(time: int, bucket_ms: int) -> datetime:
    """Return the start of the bucket that holds a market time."""
    return to_datetime(time - time % bucket_ms)


async def write_samples(connection: Any, samples: Sequence[Sample]) -> None:
    """Write samples; one that is there stays."""
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


async def add_tallies(connection: Any, samples: Sequence[Sample], bucket_ms: int) -> None:
    """Add what each model's answers came to."""
    groups: dict[tuple[datetime, str, str, str], list[Sample]] = {}
    for s in samples:
        bucket = bucket_of(s.answer.candle_open, bucket_ms)
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


async def add_spreads(connection: Any, samples: Sequence[Sample], bucket_ms: int) -> None:
    """Add how the numbers that drift is looked for in are spread."""
    groups: dict[tuple[datetime, str, str, str], list[float]] = {}
    for s in samples:
        if s.model != ENSEMBLE:
            continue
        place = (bucket_of(s.answer.candle_open, bucket_ms), s.answer.stage.value)
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


def _watched(sample: Sample) -> dict[Quantity, float]:
    return {
        Quantity.CONFIDENCE: sample.confidence,
        Quantity.RETURN: sample.outcome.last_return,
        Quantity.ATR: sample.outcome.atr,
    }
