"""Every hour: is what the ledger holds what the wallet did, to the cent?"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from services.analytics.core.equity import HOUR_MS
from services.analytics.core.ledger_check import LedgerCheck, Wallet, comparable
from services.analytics.metrics import AnalyticsMetrics
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.kit.postgres.db import TRANSIENT, Database
from services.trade.times import from_datetime, to_datetime

log = get_logger(__name__)

_LOOK_SECONDS = 5.0
"""Pause between two looks. A round is used at the look after the one that found it: what comes
before it in the stream may still be on its way to the database through another replica."""
_WALL_SECONDS = 3600.0
_LOCK = "select pg_try_advisory_xact_lock(hashtext('analytics.ledger_checks'))"
_ROUNDS = """
select account, time, sequence, wallet_balance from portfolio where from_round order by account
"""
_LAST = """
select distinct on (account) account, until as time, until_sequence as sequence, wallet_balance,
    difference
from ledger_checks order by account, until desc
"""
# Fills and settlements by their place in the stream: exec_risk commits them before the round whose
# wallet holds them, whatever time they carry. The time only bounds what is looked at.
_BOOKED = """
select
    coalesce((select sum(realized - commission) from trade_fills
        where account = $1 and sequence > $2 and sequence <= $3
        and time > $4::timestamptz - interval '2 days'), 0)
    + coalesce((select sum(amount) from trade_funding
        where account = $1 and sequence > $2 and sequence <= $3
        and time > $4::timestamptz - interval '2 days'), 0) as booked,
    coalesce((select sum(t.gross_pnl - f.exchange) from trades t,
        lateral (select sum(exchange_realized) as exchange from trade_fills f
            where f.position_id = t.position_id) f
        where t.account = $1 and t.status = 'closed'
        and t.closed_time > $4 and t.closed_time <= $5), 0) as realized
"""
_KEEP = """
insert into ledger_checks (account, until, until_sequence, wallet_balance, since, since_sequence,
    wallet_change, booked, difference, realized_difference)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict do nothing
"""


class LedgerChecks:
    """Compares once for each hour of market time, at least once an hour by the wall."""

    def __init__(self, database: Database, clock: Clock, metrics: AnalyticsMetrics) -> None:
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._ripe: dict[str, Wallet] = {}
        self._checked = clock.monotonic()

    async def run(self) -> None:
        """Look for ever; a database that is away is waited for."""
        while True:
            try:
                await self.look()
            except TRANSIENT as error:
                log.warning("ledger_not_checked", error=repr(error))
            await self._clock.sleep(_LOOK_SECONDS)

    async def look(self) -> list[LedgerCheck]:
        """Make the comparisons that are due; return them."""
        made = []
        async with self._database.transaction() as connection:
            if not await connection.fetchval(_LOCK):
                return []
            last = {row["account"]: row for row in await connection.fetch(_LAST)}
            for account, until in sorted(self._ripe.items()):
                check = await self._check(connection, last.get(account), until)
                if check is not None:
                    made.append(check)
            rounds = await connection.fetch(_ROUNDS)
        self._ripe = {row["account"]: _wallet(row) for row in rounds}
        for account, row in last.items():
            self._metrics.ledger_difference.labels(account).set(float(row["difference"]))
        for check in made:
            self._tell(check)
        return made

    async def _check(
        self, connection: Any, row: Mapping[str, Any] | None, until: Wallet
    ) -> LedgerCheck | None:
        since = until if row is None else _wallet(row)
        if row is not None and not self._due(since, until):
            return None
        if not comparable(since, until):
            # the first round, or a stream that began anew: the next hour is compared with it
            since = until
        found = await connection.fetchrow(
            _BOOKED,
            until.account,
            since.sequence,
            until.sequence,
            to_datetime(since.time),
            to_datetime(until.time),
        )
        check = LedgerCheck(since, until, found["booked"], found["realized"])
        await connection.execute(_KEEP, *_columns(check))
        self._checked = self._clock.monotonic()
        return check

    def _due(self, since: Wallet, until: Wallet) -> bool:
        if until.time <= since.time:
            return False
        waited = self._clock.monotonic() - self._checked >= _WALL_SECONDS
        return waited or until.time - since.time >= HOUR_MS

    def _tell(self, check: LedgerCheck) -> None:
        account = check.until.account
        self._metrics.ledger_difference.labels(account).set(float(check.difference))
        if not check.agrees:
            log.error(
                "ledger_differs",
                account=account,
                wallet_change=str(check.wallet_change),
                booked=str(check.booked),
                realized_difference=str(check.realized_difference),
            )


def _wallet(row: Mapping[str, Any]) -> Wallet:
    balance: Decimal = row["wallet_balance"]
    return Wallet(row["account"], from_datetime(row["time"]), row["sequence"], balance)


def _columns(check: LedgerCheck) -> tuple[Any, ...]:
    return (
        check.until.account,
        to_datetime(check.until.time),
        check.until.sequence,
        check.until.balance,
        to_datetime(check.since.time),
        check.since.sequence,
        check.wallet_change,
        check.booked,
        check.difference,
        check.realized_difference,
    )
