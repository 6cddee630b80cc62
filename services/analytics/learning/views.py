"""What is read of learning: windows of sums, the same in every replica."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from services.analytics.core.learning.drift import Expected
from services.analytics.core.learning.promotion_watch import Outcome
from services.analytics.core.learning.spread import Quantity, Spread
from services.analytics.core.learning.states import Learning, LearningStage
from services.analytics.core.learning.tally import NOTHING, Tally
from services.analytics.core.truth import TradeTruth
from services.analytics.learning.progress import Progress, progress_of
from services.analytics.learning.samples_store import TallyKey
from services.analytics.ledger.rows import trade_from_row
from services.kit.postgres.db import Database
from services.trade.times import to_datetime

_TALLIES = """
select stage, model_version, model_name, numbers from learning_tallies
where bucket >= $1 and bucket < $2
"""
_SPREADS = """
select quantity, counts from learning_spreads
where bucket >= $1 and bucket < $2 and stage = $3 and model_version = $4
"""
_TRADES = """
select * from trades where status = 'closed' and model_version = $1 and opened_time >= $2
"""
_REQUEST = "select * from learning_requests where request_id = $1"
_ASK = """
insert into learning_requests (request_id, reason, accepted, message, stage)
values ($1, $2, $3, $4, $5) on conflict (request_id) do nothing
"""


_ANY_WAITING = "select true from learning_requests where accepted and not taken limit 1"


@dataclass(frozen=True, slots=True)
class Answered:
    """What a person's request led to."""

    accepted: bool
    stage: LearningStage
    message: str


class LearningViews:
    """Reads, and takes requests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def progress(self) -> Progress:
        """Return how far learning is."""
        row = await self._database.pool.fetchrow("select * from learning_state where id = 1")
        return progress_of(row)

    async def tallies(self, start: int, end: int) -> dict[TallyKey, Tally]:
        """Return the sums of the buckets that begin within a span of market time."""
        rows = await self._database.pool.fetch(_TALLIES, to_datetime(start), to_datetime(end))
        found: dict[TallyKey, Tally] = {}
        for r in rows:
            key = (r["stage"], r["model_version"], r["model_name"])
            found[key] = found.get(key, NOTHING) + Tally.from_numbers(r["numbers"])
        return found

    async def spreads(
        self, start: int, end: int, stage: str, version: str
    ) -> dict[Quantity, Spread]:
        """Return how what is watched was spread within a span of market time."""
        rows = await self._database.pool.fetch(
            _SPREADS, to_datetime(start), to_datetime(end), stage, version
        )
        found: dict[Quantity, Spread] = {}
        for r in rows:
            quantity = Quantity(r["quantity"])
            found[quantity] = found.get(quantity, Spread()) + Spread(tuple(r["counts"]))
        return found

    async def references(self, version: str) -> dict[Quantity, Spread]:
        """Return what an artifact's spreads are compared with; nothing when it is not known."""
        rows = await self._database.pool.fetch(
            "select quantity, counts from learning_references where model_version = $1", version
        )
        return {Quantity(r["quantity"]): Spread(tuple(r["counts"])) for r in rows}

    async def expectations(self, version: str) -> tuple[dict[str, Expected], dict[str, float]]:
        """Return what is expected of each model of an artifact, and the models' own shares."""
        rows = await self._database.pool.fetch(
            "select * from learning_expectations where model_version = $1", version
        )
        expected = {r["model_name"]: Expected(r["hit_rate"], r["calibration_error"]) for r in rows}
        return expected, {r["model_name"]: r["share"] for r in rows if r["share"] is not None}

    async def remember(
        self,
        version: str,
        origin: str,
        spreads: Mapping[Quantity, Spread],
        expected: Mapping[str, Expected],
        shares: Mapping[str, float],
    ) -> None:
        """Keep what an artifact is compared with from now on; what is known stays."""
        async with self._database.transaction() as connection:
            await connection.executemany(
                "insert into learning_references (model_version, quantity, origin, counts)"
                " values ($1, $2, $3, $4) on conflict do nothing",
                [(version, q.value, origin, list(s.counts)) for q, s in spreads.items()],
            )
            await connection.executemany(
                "insert into learning_expectations (model_version, model_name, origin, hit_rate,"
                " calibration_error, share) values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
                [
                    (version, m, origin, e.hit_rate, e.calibration_error, shares.get(m))
                    for m, e in expected.items()
                ],
            )

    async def trades(self, version: str, since: int) -> tuple[Outcome, ...]:
        """Return the closed trades that an artifact's signals opened since a market time."""
        rows = await self._database.pool.fetch(_TRADES, version, to_datetime(since))
        return tuple(_outcome(version, TradeTruth(trade_from_row(row))) for row in rows)

    async def ask(self, request_id: str, reason: str) -> Answered:
        """Take a person's request; a repeated one gets its first answer."""
        async with self._database.transaction() as connection:
            # The learning replica writes this row whenever it takes a request or goes on.
            row = await connection.fetchrow("select * from learning_state where id = 1 for update")
            known = await connection.fetchrow(_REQUEST, request_id)
            if known is None:
                waiting = await connection.fetchval(_ANY_WAITING)
                said = _answer(progress_of(row).state, waiting=bool(waiting))
                values = (said.accepted, said.message, said.stage.value)
                await connection.execute(_ASK, request_id, reason, *values)
                return said
        return Answered(known["accepted"], LearningStage(known["stage"]), known["message"])

    async def candles(self, since: int, symbols: int) -> dict[tuple[str, str, str], Any]:
        """Return (times of chunks, bars) of the series with the most candles since a time."""
        names = await self._database.pool.fetch(
            "select venue, symbol, timeframe from learning_candles where start >= $1"
            " group by 1, 2, 3 order by count(*) desc, 1, 2, 3 limit $2",
            to_datetime(since),
            symbols,
        )
        found: dict[tuple[str, str, str], Any] = {}
        for n in names:
            rows = await self._database.pool.fetch(
                "select start, bars from learning_candles where venue = $1 and symbol = $2"
                " and timeframe = $3 and start >= $4 order by start",
                *(n["venue"], n["symbol"], n["timeframe"]),
                to_datetime(since),
            )
            bars = [np.frombuffer(r["bars"], dtype="<f8").reshape(-1, 5) for r in rows]
            found[(n["venue"], n["symbol"], n["timeframe"])] = ([r["start"] for r in rows], bars)
        return found


def _outcome(version: str, truth: TradeTruth) -> Outcome:
    position, r = truth.position, truth.r
    return Outcome(
        position_id=position.position_id,
        model_version=version,
        opened_at=position.opened_time,
        closed_at=position.closed_time or position.opened_time,
        net_pnl=position.net_pnl,
        r=None if r is None else Decimal(repr(r)),
    )


def _answer(state: Learning, *, waiting: bool) -> Answered:
    if state.busy:
        return Answered(False, state.stage, f"a job is under way: {state.stage.value}")
    if waiting or state.asked:
        return Answered(False, state.stage, "a request waits already")
    return Answered(True, state.stage, "a training is asked for")
