"""Projections made anew from the ledger, and the risk alerts that the ledger shows."""

from __future__ import annotations

import asyncpg
import pytest
from quantum.exec_risk.v1 import events_pb2 as facts

from services.analytics.app import SCHEMA
from services.analytics.codec import to_event
from services.analytics.core.alerts import Severity
from services.analytics.ledger.rebuild import rebuild
from services.analytics.ledger.upserts import TABLES
from services.analytics.store import LedgerStore
from services.analytics.views import Views
from services.kit.postgres.db import Database
from services.trade.codec import time_to_pb
from tests.integration.analytics.ledger_samples import (
    MAY,
    MINUTE,
    closed_trade,
    delivered,
    fill,
    outgoing,
    round_decided,
)

pytestmark = pytest.mark.timeout(90)

DAMAGE = (
    "update trades set net_pnl = net_pnl + 1 where position_id = 'pos-1'",
    "delete from trade_fills where position_id = 'pos-2'",
    "update marks set price = 0",
    "update portfolio set wallet_balance = wallet_balance * 2",
    "delete from position_facts where position_id = 'pos-3'",
    "insert into trade_funding values ('main', 'X', '1', '', 5, now(), current_date, 1)",
)


async def tables(database: Database) -> dict[str, list[asyncpg.Record]]:
    """Every projection, row by row."""
    return {
        table.name: await database.pool.fetch(
            f"select * from {table.name} order by {', '.join(table.key)}"  # noqa: S608 - our names
        )
        for table in TABLES
    }


async def recorded(database: Database, events: int = 20) -> None:
    """Record trades, rounds and an open position."""
    sent = [outgoing(m, time=MAY + n * MINUTE) for n in range(events) for m in closed_trade(n)]
    sent += [outgoing(round_decided(MAY + n * MINUTE, wallet=str(n))) for n in range(events)]
    sent.append(outgoing(fill(999, position="open", entry=True, price="7", quantity="0.250")))
    store = LedgerStore(database)
    read = [to_event(delivered(s, n)) for n, s in enumerate(sent, 1)]
    for start in range(0, len(read), 7):
        await store.record(read[start : start + 7])


async def test_a_rebuild_repairs_damaged_projections_and_says_what_differed(
    database: Database, ledger_dsn: str
) -> None:
    await recorded(database)
    whole = await tables(database)
    for statement in DAMAGE:
        await database.pool.execute(statement)
    damaged = await tables(database)
    check = await rebuild(ledger_dsn, SCHEMA, check=True)
    assert await tables(database) == damaged
    told = "\n".join(check.differences)
    for part in ("trades pos-1: net_pnl", "trade_fills main/BTCUSDT/4: missing", "marks", "wallet"):
        assert part in told
    assert "position_facts pos-3: missing" in told
    assert "trade_funding main/X/1: not in the ledger" in told
    done = await rebuild(ledger_dsn, SCHEMA, check=False)
    assert (done.differences, done.trades) == (check.differences, 21)
    assert await tables(database) == whole
    assert (await rebuild(ledger_dsn, SCHEMA, check=True)).differences == ()


async def test_a_rebuild_of_sound_projections_changes_nothing(
    database: Database, ledger_dsn: str
) -> None:
    await recorded(database, 3)
    before = await tables(database)
    assert (await rebuild(ledger_dsn, SCHEMA, check=False)).differences == ()
    assert await tables(database) == before


async def test_an_old_round_that_comes_late_takes_nothing_back(
    database: Database, ledger_dsn: str
) -> None:
    """Wallets and marks are written unread: the newest stays by the rank of the core."""
    store = LedgerStore(database)
    for number in (5, 3, 9, 1):
        late = outgoing(round_decided(MAY + number * MINUTE, wallet=str(number), close=str(number)))
        assert await store.record([to_event(delivered(late, number))]) == 1
        assert await store.record([to_event(delivered(late, number + 100))]) == 0
    assert await database.pool.fetchval("select wallet_balance from portfolio") == 9
    assert await database.pool.fetchval("select price from marks") == 9
    assert (await rebuild(ledger_dsn, SCHEMA, check=True)).differences == ()


async def test_a_fill_that_is_given_to_another_position_moves_there(
    database: Database, ledger_dsn: str
) -> None:
    store = LedgerStore(database)
    first = fill(1, position="", entry=True, price="10")
    for number, position in enumerate(("", "pos-a"), 1):
        first.fill.position_id = position
        assert await store.record([to_event(delivered(outgoing(first), number))]) == 1
    assert await database.pool.fetchval("select position_id from trade_fills") == "pos-a"
    assert await database.pool.fetchval("select entry_cost from trades") == 10
    assert (await rebuild(ledger_dsn, SCHEMA, check=True)).differences == ()


def risk(minutes: int, severity: str, kind: str, symbol: str, text: str) -> facts.RiskAlert:
    """A risk alert some minutes after the start."""
    return facts.RiskAlert(
        severity=severity,
        alert_type=kind,
        message=text,
        affected_symbols=[symbol] if symbol else [],
        time=time_to_pb(MAY + minutes * MINUTE),
    )


async def test_grave_risk_alerts_of_the_last_market_hour_are_shown(database: Database) -> None:
    """Each kind once for its symbols, by market time: a replay shows what a live run does."""
    alerts = [
        (0, "CRITICAL", "POSITION_DRIFT", "OLD", "too old"),
        (20, "HIGH", "POSITION_DRIFT", "BTCUSDT", "first"),
        (30, "CRITICAL", "POSITION_DRIFT", "BTCUSDT", "second"),
        (40, "MEDIUM", "DRAWDOWN", "", "not grave"),
        (50, "HIGH", "UNKNOWN_POSITION", "", "all"),
    ]
    sent = [outgoing(risk(*a), time=MAY + a[0] * MINUTE) for a in alerts]
    views, store = Views(database), LedgerStore(database)
    assert (await views.ledger_state()).risks == ()
    await store.record([to_event(delivered(s, n)) for n, s in enumerate(sent, 1)])
    assert len((await views.ledger_state()).risks) == 3
    last = outgoing(round_decided(MAY + 70 * MINUTE, wallet="1"), time=MAY + 70 * MINUTE)
    await store.record([to_event(delivered(last, 9))])
    drift, unknown = (await views.ledger_state()).risks
    assert (drift.severity, drift.message, drift.component) == (
        Severity.CRITICAL,
        "second",
        "main/BTCUSDT",
    )
    assert (unknown.type, unknown.component) == ("UNKNOWN_POSITION", "main")
    assert drift.time == "2025-05-01T00:30:00Z"
    after = outgoing(round_decided(MAY + 200 * MINUTE, wallet="1"), time=MAY + 200 * MINUTE)
    await store.record([to_event(delivered(after, 10))])
    assert (await views.ledger_state()).risks == ()
