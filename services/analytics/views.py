"""What the RPCs and the health loop read: numbers from PostgreSQL, the same in every replica."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from services.analytics.core.alerts import LedgerState, RiskNotice, Severity
from services.analytics.core.performance import Result
from services.analytics.core.portfolio import Portfolio, value
from services.analytics.core.trades import Trade
from services.analytics.learning.progress import Progress
from services.analytics.learning.views import LearningViews
from services.analytics.ledger.rows import anchor_from_row, mark_from_row, trade_from_row
from services.kit.postgres.db import Database
from services.trade.times import from_datetime, to_datetime

_FLOWS = """
select p.account,
    coalesce((select sum(f.realized - f.commission) from trade_fills f
        where f.account = p.account and (f.time, f.sequence) > (p.time, p.sequence)), 0)
    + coalesce((select sum(s.amount) from trade_funding s
        where s.account = p.account and (s.time, s.sequence) > (p.time, p.sequence)), 0) as net
from portfolio p
"""
_DAYS = """
select to_char(day, 'YYYY-MM-DD') as day, sum(gross_pnl) as gross, sum(commission) as commission,
    sum(funding) as funding, sum(trades)::int as trades, sum(wins)::int as wins,
    bool_or(in_sample) as in_sample
from daily_performance where ($1::date is null or day >= $1) and ($2::date is null or day <= $2)
group by day order by day desc
"""
_TRADES = """
select * from trades
where status = 'closed' and ($1 = '' or symbol = $1) and ($2::date is null or closed_day = $2)
    and ($3::timestamptz is null or (closed_time, position_id) < ($3, $4))
order by closed_time desc, position_id desc limit $5
"""
_EVENTS = """
select event_id, type, timestamp, source, trace_id, key, data from events
where ($1 = '' or type = $1) and ($2 = '' or trace_id = $2)
    and ($3::timestamptz is null or (timestamp, event_id) < ($3, $4))
order by timestamp desc, event_id desc limit $5
"""
_LEDGER = """
select
    (select count(*) from rejections where rejected_at > clock_timestamp() - interval '1 hour')
        as rejected,
    coalesce((select reason from rejections order by rejected_at desc limit 1), '') as reason,
    (select count(*) from trades where status = 'settling') as settling,
    (select count(*) from trades where not agrees) as disagreeing,
    coalesce((select string_agg(format('account %s: from %s to %s the wallet changed by %s and the'
            ' ledger holds %s; gross profit differs from the exchange''s by %s', account,
            to_char(since, 'YYYY-MM-DD HH24:MI'), to_char(until, 'YYYY-MM-DD HH24:MI'),
            trim_scale(wallet_change), trim_scale(booked), trim_scale(realized_difference)), '; ')
        from (select distinct on (account) * from ledger_checks order by account, until desc) c
        where abs(difference) >= 0.01 or abs(realized_difference) >= 0.01), '') as unexplained,
    (select count(*) from directives d
        where d.deadline < (select max(time) from portfolio where account = d.account)
        and d.deadline > (select max(time) from portfolio) - interval '1 hour'
        and not exists (select from events e where e.type = 'directive.applied'
            and e.timestamp >= d.decided_at and e.data ->> 'directive_id' = d.directive_id
            and e.data ->> 'result' <> 'EXPIRED')) as overdue
"""

# The newest of each kind; market time stands at the last round, or at the last alert after it.
_RISKS = """
select distinct on (account, kind, symbols) key as account, data ->> 'alert_type' as kind,
    data ->> 'severity' as severity, data -> 'affected_symbols' as symbols,
    data ->> 'message' as message, coalesce(data ->> 'time', '') as time
from events
where type = 'risk.alert' and data ->> 'severity' in ('HIGH', 'CRITICAL')
    and timestamp > greatest((select max(time) from portfolio),
        (select max(timestamp) from events where type = 'risk.alert')) - interval '1 hour'
order by account, kind, symbols, timestamp desc, sequence desc limit 50
"""


class BadToken(ValueError):
    """A page token that this service did not make, or made for another question."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Place after which a page starts."""

    time: datetime | None = None
    last_id: str = ""

    def token(self, question: Sequence[str]) -> str:
        """Return the opaque text that a caller hands back for the next page."""
        time = from_datetime(self.time) if self.time else 0
        text = json.dumps([time, self.last_id, *question])
        return base64.urlsafe_b64encode(text.encode()).decode()


def read_token(token: str, question: Sequence[str]) -> Cursor:
    """Return the place of a token; BadToken when it is not one of this question."""
    if not token:
        return Cursor()
    try:
        time, last_id, *asked = json.loads(base64.urlsafe_b64decode(token.encode()))
        cursor = Cursor(to_datetime(int(time)), str(last_id))
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise BadToken("this is not a page token of this service") from error
    if asked != list(question):
        raise BadToken("the page token was made for another selection")
    return cursor


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """One event as it is listed."""

    event_id: str
    type: str
    time: datetime
    source: str
    trace_id: str
    key: str
    data: Mapping[str, Any]


class Views:
    """Reads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def portfolio(self) -> Portfolio:
        """Value all accounts at the last closes."""
        async with (
            self._database.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            anchors = await connection.fetch("select * from portfolio order by account")
            flows = await connection.fetch(_FLOWS)
            marks = await connection.fetch("select * from marks")
            rows = await connection.fetch(
                "select * from trades where status = 'open' order by symbol, account"
            )
        return value(
            [anchor_from_row(row) for row in anchors],
            {row["account"]: row["net"] for row in flows},
            [trade_from_row(row).position for row in rows],
            {(row["account"], row["symbol"]): mark_from_row(row) for row in marks},
        )

    async def results(self, first: date | None = None, last: date | None = None) -> list[Result]:
        """Return the results of the days from the first to the last, the newest first."""
        rows = await self._database.pool.fetch(_DAYS, first, last)
        return [Result(**dict(row)) for row in rows]

    async def trades(
        self, *, symbol: str, day: date | None, cursor: Cursor, limit: int
    ) -> tuple[list[Trade], Cursor | None]:
        """Return closed trades, the newest first, and where the next page starts."""
        rows = await self._database.pool.fetch(
            _TRADES, symbol, day, cursor.time, cursor.last_id, limit + 1
        )
        page = rows[:limit]
        more = len(rows) > limit
        last = Cursor(page[-1]["closed_time"], page[-1]["position_id"]) if more else None
        return [trade_from_row(row) for row in page], last

    async def events(
        self, *, event_type: str, trace_id: str, cursor: Cursor, limit: int
    ) -> tuple[list[RecordedEvent], Cursor | None]:
        """Return recorded events, the newest first, and where the next page starts."""
        rows = await self._database.pool.fetch(
            _EVENTS, event_type, trace_id, cursor.time, cursor.last_id, limit + 1
        )
        page = [
            RecordedEvent(
                event_id=row["event_id"],
                type=row["type"],
                time=row["timestamp"],
                source=row["source"],
                trace_id=row["trace_id"],
                key=row["key"],
                data=json.loads(row["data"]),
            )
            for row in rows[:limit]
        ]
        more = len(rows) > limit
        return page, Cursor(page[-1].time, page[-1].event_id) if more else None

    async def learning(self) -> Progress:
        """Return how far learning is."""
        return await LearningViews(self._database).progress()

    async def samples(self) -> int:
        """Return how many predictions were recorded."""
        found = await self._database.pool.fetchval(
            "select coalesce(sum(predictions), 0) from prediction_counts"
        )
        return int(found)

    async def ledger_state(self) -> LedgerState:
        """Return what the ledger knows of its own completeness, and grave risk alerts."""
        row = await self._database.pool.fetchrow(_LEDGER)
        risks = await self._database.pool.fetch(_RISKS)
        return LedgerState(
            rejected_last_hour=row["rejected"],
            last_rejection=row["reason"],
            settling_trades=row["settling"],
            disagreeing_trades=row["disagreeing"],
            unexplained=row["unexplained"],
            overdue_directives=row["overdue"],
            risks=tuple(
                RiskNotice(
                    account=risk["account"],
                    type=risk["kind"],
                    severity=Severity(risk["severity"]),
                    symbols=tuple(json.loads(risk["symbols"])),
                    message=risk["message"],
                    time=risk["time"],
                )
                for risk in risks
            ),
        )
