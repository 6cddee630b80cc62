"""A day and a month of real trading on virtual time: the report is the venue's account history."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from services.analytics.app import SCHEMA
from services.analytics.codec import to_event
from services.analytics.core.ledger_check import LedgerCheck
from services.analytics.core.report import Flows
from services.analytics.ledger.checks import LedgerChecks
from services.analytics.ledger.rebuild import rebuild
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.reports.views import ReportViews
from services.analytics.store import LedgerStore
from services.kit.clock import SystemClock
from services.kit.observe.metrics import Metrics
from services.kit.postgres.db import Database
from services.lab.simulation import books
from services.lab.simulation.faults import KINDS, Fault
from services.lab.simulation.plan import RunPlan
from services.lab.simulation.venue import BALANCE
from services.trade.times import DAY_MS, day_start
from tests.integration.analytics.ledger_samples import delivered
from tests.support.simulated_account import START, TradedAccount, trade

CENT = Decimal("0.01")
_BATCH = 40
_CALM = frozenset(KINDS)
_TROUBLED = frozenset({Fault.PRICE_GAP, Fault.OPERATOR})
"""Without what liquidates an account or has a person stop it for the rest of the month."""


@pytest.mark.parametrize(
    ("seed", "days", "off"),
    [
        pytest.param(0, 1, _CALM, id="day", marks=pytest.mark.timeout(240)),
        pytest.param(0, 1, _TROUBLED, id="day-of-faults", marks=pytest.mark.timeout(240)),
        pytest.param(
            0, 30, _CALM, id="month", marks=[pytest.mark.drill, pytest.mark.timeout(1800)]
        ),
        pytest.param(
            0,
            30,
            _TROUBLED,
            id="month-of-faults",
            marks=[pytest.mark.drill, pytest.mark.timeout(1800)],
        ),
    ],
)
async def test_the_report_of_days_is_the_venues_account_history(
    database: Database, ledger_dsn: str, seed: int, days: int, off: frozenset[Fault]
) -> None:
    """Incidents 84, 85, 93: equal to the cent for all days together and for each one alone."""
    account = await asyncio.to_thread(trade, RunPlan(seed, hours=24.0 * days, off=off))
    assert account.outcome.failure is None, account.outcome.failure
    assert len(account.venue.fills) > 10 * days
    assert len(account.venue.funding) >= days // 2
    checks = await _record(database, account)
    assert len(checks) > 12 * days
    assert [c for c in checks if not c.agrees] == []
    views, until = ReportViews(database), account.venue.time + 1
    report = await views.report((START, until))
    _assert_history(account, report.flows, START, until)
    held = sum((account.venue.held(s) != 0) for s in account.venue.market.symbols)
    assert report.flows.net == account.venue.wallet - BALANCE or held
    for day in range(day_start(START), until, DAY_MS):
        one = await views.report((day, day + DAY_MS))
        _assert_history(account, one.flows, day, day + DAY_MS)
    for parts in (report.by_day, report.by_hour, report.by_symbol, report.by_exit):
        assert sum((p.net for p in parts), Decimal(0)) == report.total.net
    assert report.measures.days >= days - 1
    assert (await rebuild(ledger_dsn, SCHEMA, check=True)).differences == ()


async def _record(database: Database, account: TradedAccount) -> list[LedgerCheck]:
    """Record all that was published, and hold it to the wallet as the service does."""
    store, made = LedgerStore(database), list[LedgerCheck]()
    checks = LedgerChecks(database, SystemClock(), AnalyticsMetrics(Metrics("days")))
    events = [to_event(delivered(m, n)) for n, m in enumerate(account.sent, 1)]
    for start in range(0, len(events), _BATCH):
        await store.record(events[start : start + _BATCH])
        made += await checks.look()
    return made + await checks.look()


def _assert_history(account: TradedAccount, flows: Flows, since: int, until: int) -> None:
    """Hold the flows of a span to what the venue tells of it."""
    fills = [f for f in account.venue.fills if since <= f.time < until]
    funding = [f for f in account.venue.funding if since <= f.time < until]
    assert flows.commission == sum((f.commission for f in fills), Decimal(0))
    assert flows.funding == sum((f.amount for f in funding), Decimal(0))
    assert flows.fills >= len(books.whole(fills))
    assert abs(flows.gross - sum((f.realized_pnl for f in fills), Decimal(0))) < CENT
