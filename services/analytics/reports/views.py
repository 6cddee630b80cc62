"""What reports read: closed trades with their measures, flows, equity, comparisons, health."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.analytics.core.equity import EquityPoint, curve
from services.analytics.core.ledger import BookedFill
from services.analytics.core.ledger_check import LedgerCheck, Wallet
from services.analytics.core.report import Flows, Report, make
from services.analytics.core.service_history import HealthChange, ServiceHistory, histories
from services.analytics.core.spans import Span
from services.analytics.core.truth import Extremes, TradeTruth, candles_between
from services.analytics.ledger.rows import equity_from_row, fill_from_row, trade_from_row
from services.kit.postgres.db import Database
from services.trade.times import from_datetime, to_datetime

# The points of a candle's path are those of `Candle.path`; the smallest timeframe knows best.
_TRUTH = """
select t.*, s.price as signal_price, cs.length_ms, e.candles,
    least(e.low, f.low) as low, greatest(e.high, f.high) as high
from trades t
left join signal_prices s on s.signal_id = t.signal_id
left join lateral (select * from candle_series c where c.symbol = t.symbol
    order by c.length_ms limit 1) cs on true
left join lateral (
    select count(distinct c.open_time) as candles,
        min(p.price) filter (where p.held) as low, max(p.price) filter (where p.held) as high
    from candles c, lateral (
        select v.price, c.open_time + (cs.length_ms * v.part / 3) * interval '1 ms'
            between t.opened_time and t.closed_time as held
        from (values
            (0, c.open),
            (1, case when c.close > c.open then c.low else c.high end),
            (2, case when c.close > c.open then c.high else c.low end),
            (3, c.close)) as v (part, price)) as p
    where c.venue = cs.venue and c.symbol = t.symbol and c.timeframe = cs.timeframe
        and c.open_time > t.opened_time - cs.length_ms * interval '1 ms'
        and c.open_time < t.closed_time
) e on true
left join lateral (select min(price) as low, max(price) as high from trade_fills f
    where f.position_id = t.position_id) f on true
"""
_CLOSED = f"""{_TRUTH}
where t.status = 'closed' and t.closed_time >= $1 and t.closed_time < $2
order by t.closed_time, t.position_id
"""
_ONE = f"{_TRUTH} where t.position_id = $1"
_FILLS = "select * from trade_fills where position_id = $1 order by time, trade_id"
_FLOWS = """
select f.gross, f.commission, f.fills, s.funding from
    (select coalesce(sum(realized), 0) as gross, coalesce(sum(commission), 0) as commission,
        count(*) as fills from trade_fills where time >= $1 and time < $2) f,
    (select coalesce(sum(amount), 0) as funding from trade_funding
        where time >= $1 and time < $2) s
"""
_EQUITY = """
select * from equity_hours where time > $1 and time <= $2
union all
select distinct on (account) * from equity_hours where time <= $1 and time > $1 - interval '2 days'
order by account, hour
"""
_CHECKS = """
select * from ledger_checks where until > $1 and until <= $2 order by until desc, account
"""
_HEALTH = """
select timestamp, data ->> 'service_name' as service, data ->> 'status' as status,
    data ->> 'degradation_reason' as reason
from events where type = 'health.status' and timestamp >= $1 and timestamp < $2
"""
_ALERTS = """
select data ->> 'alert_type' as kind, data ->> 'severity' as severity, count(*) as count
from events where type = 'risk.alert' and timestamp >= $1 and timestamp < $2
group by kind, severity order by count desc, kind
"""
_PREDICTIONS = """
select model_version, action, sum(predictions)::bigint as predictions from prediction_counts
where day >= $1::timestamptz::date and day < $2::timestamptz::date
    + case when $2::timestamptz::time = '00:00' then 0 else 1 end
group by model_version, action order by model_version, action
"""
_SHOWN_CHECKS = 100


@dataclass(frozen=True, slots=True)
class Checks:
    """Comparisons of a span: how many, and those that differ with the last one."""

    made: int
    shown: tuple[LedgerCheck, ...]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a report tells beside the money."""

    checks: Checks
    services: tuple[ServiceHistory, ...]
    alerts: tuple[tuple[str, str, int], ...]
    """Kind, severity, how many."""
    predictions: tuple[tuple[str, str, int], ...]
    """Model version, action, how many."""


class ReportViews:
    """Reads of one span, each from one snapshot of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(self) -> int:
        """Return the market time of the newest round; 0 before the first."""
        found = await self._database.pool.fetchval("select max(time) from portfolio")
        return from_datetime(found) if found else 0

    async def report(self, span: Span) -> Report:
        """Return what a span brought."""
        since, until = (to_datetime(time) for time in span)
        async with (
            self._database.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            trades = await connection.fetch(_CLOSED, since, until)
            flows = await connection.fetchrow(_FLOWS, since, until)
            hours = await connection.fetch(_EQUITY, since, until)
        return make(
            *span,
            Flows(flows["gross"], flows["commission"], flows["funding"], flows["fills"]),
            [truth_of(row) for row in trades],
            _points(hours),
        )

    async def surroundings(self, span: Span) -> Surroundings:
        """Return comparisons, health, alerts and predictions of a span."""
        pool, times = self._database.pool, [to_datetime(time) for time in span]
        checks = [_check(row) for row in await pool.fetch(_CHECKS, *times)]
        changes = [
            HealthChange(r["service"], from_datetime(r["timestamp"]), r["status"], r["reason"])
            for r in await pool.fetch(_HEALTH, *times)
        ]
        alerts = await pool.fetch(_ALERTS, *times)
        predictions = await pool.fetch(_PREDICTIONS, *times)
        shown = [c for n, c in enumerate(checks) if not n or not c.agrees]
        return Surroundings(
            checks=Checks(len(checks), tuple(shown[:_SHOWN_CHECKS])),
            services=tuple(histories(changes, span[1])),
            alerts=tuple((r["kind"], r["severity"], r["count"]) for r in alerts),
            predictions=tuple(
                (r["model_version"], r["action"], r["predictions"]) for r in predictions
            ),
        )

    async def trade(
        self, position_id: str
    ) -> tuple[TradeTruth, list[tuple[BookedFill, Decimal]]] | None:
        """Return one trade and its fills with their shares of its gross profit."""
        async with (
            self._database.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            row = await connection.fetchrow(_ONE, position_id)
            fills = await connection.fetch(_FILLS, position_id)
        if row is None:
            return None
        return truth_of(row), [(fill_from_row(f), f["realized"]) for f in fills]


def truth_of(row: Mapping[str, Any]) -> TradeTruth:
    """Return a trade with its measures; with a gap in its candles its extremes are not known."""
    trade = trade_from_row(row)
    truth = TradeTruth(trade, row["signal_price"])
    closed = trade.position.closed_time
    if row["length_ms"] is None or closed is None:
        return truth
    touched = candles_between(trade.position.opened_time, closed, row["length_ms"])
    extremes = Extremes(row["low"], row["high"]) if row["candles"] >= touched else None
    return TradeTruth(trade, row["signal_price"], extremes)


def _points(rows: list[Mapping[str, Any]]) -> list[EquityPoint]:
    return curve(equity_from_row(row) for row in rows)


def _check(row: Mapping[str, Any]) -> LedgerCheck:
    account, until = row["account"], row["wallet_balance"]
    before = until - row["wallet_change"]
    return LedgerCheck(
        since=Wallet(account, from_datetime(row["since"]), row["since_sequence"], before),
        until=Wallet(account, from_datetime(row["until"]), row["until_sequence"], until),
        booked=row["booked"],
        realized_difference=row["realized_difference"],
    )
