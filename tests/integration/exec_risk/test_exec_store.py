"""The store on a real PostgreSQL: what is written comes back, an old token writes nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
import pytest_asyncio

from services.exec_risk.app import MIGRATIONS, SCHEMA
from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.executions.execution_policy import ExecutionPolicy
from services.exec_risk.core.inputs import Tick
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.protection.trailing import Stage
from services.exec_risk.core.trader import Trader
from services.exec_risk.database.commit_statement import ANSWERS_CHANNEL
from services.exec_risk.database.purge import purge_once
from services.exec_risk.serving.views import Views
from services.exec_risk.store import PostgresStore
from services.kit.clock import SystemClock
from services.kit.errors import AlreadyExists, Unavailable
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Fenced, Lease
from services.kit.postgres.migrate import migrate
from services.kit.postgres.notify import Notifications
from services.trade.execution import ExecutionStrategy
from services.trade.order import OrderPurpose, OrderState, Side
from services.trade.position import TradingState
from services.trade.times import DAY_MS
from tests.unit.exec_risk.account_desk import MINUTE, Desk, report, signal_of
from tests.unit.exec_risk.exchange_readings import by_hand, reading


@pytest_asyncio.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    """A migrated schema."""
    await migrate(postgres_dsn, SCHEMA, MIGRATIONS)
    found = await Database.connect(postgres_dsn, schema=SCHEMA, application_name="test")
    yield found
    await found.close()


async def _store(database: Database, owner: str = "a") -> tuple[PostgresStore, Lease]:
    lease = Lease(database, "account.main", owner, SystemClock())
    assert await lease.take()
    return PostgresStore(database, lease, "main", "paper"), lease


def _views(database: Database, account: str = "main") -> Views:
    clock = SystemClock()
    polled = Notifications(
        database.where, ANSWERS_CHANNEL, clock, application_name="test", fallback_seconds=0.05
    )
    return Views(database, account, clock, polled)


def _changes(effects: list[fx.Effect]) -> list[fx.Change]:
    return fx.parted(effects)[0]


async def test_a_restart_reads_back_what_was_committed(database: Database) -> None:
    """Incidents 12 and 92: orders, position, plan, counters and days survive; twice is once."""
    store, _ = await _store(database)
    desk = Desk()
    desk.open()
    changes = _changes(desk.effects)
    await store.commit(changes)
    await store.commit(changes)
    book = await store.load(Policy())
    assert book.orders == desk.book.orders
    assert book.positions == desk.book.positions
    assert book.plans == desk.book.plans
    assert book.counts == desk.book.counts
    assert book.seen_fills == desk.book.seen_fills
    assert book.last_round == desk.book.last_round
    assert book.executing.all == desk.book.executing.all
    assert book.executing.volumes == desk.book.executing.volumes
    assert {d.day: d.pnl for d in book.days.values()} == {
        d.day: d.pnl for d in desk.book.days.values()
    }
    told = await database.pool.fetchval("select count(*) from outbox")
    assert told == sum(isinstance(c, fx.FACTS) for c in changes)


async def test_what_was_booked_since_the_last_reading_is_recognised_after_a_restart(
    database: Database,
) -> None:
    """Incident 82: a term that begins reads from the last reading on, however long ago it was."""
    store, _ = await _store(database)
    desk = Desk()
    desk.tell(reading(desk, Decimal(0), desk.book.wallet or Decimal(0)))
    told = tuple(by_hand(desk, side, Decimal(3), str(n)) for n, side in enumerate(Side))
    for fill in told:
        desk.tell(ex.FillReport(fill))
    for _ in range(5):
        desk.time += DAY_MS
        desk.round()
    await store.commit(_changes(desk.effects))
    book = await store.load(Policy())
    assert book.seen_fills == desk.book.seen_fills
    assert book.unread_from() <= told[0].time
    assert set(book.seen_fills) == {(f.symbol, f.trade_id) for f in told}


async def test_how_far_protection_has_come_is_read_back(database: Database) -> None:
    """Incidents 6 and 12: best price, moved stop and what targets took survive; newest wins."""
    store, _ = await _store(database)
    desk = Desk()
    desk.open()
    desk.fill(desk.placed(OrderPurpose.TAKE_PROFIT)[0], price=Decimal("101.2"))
    for close in ("101.5", "102"):
        desk.time += MINUTE
        desk.close("BTCUSDT", Decimal(close))
        desk.accept_all()
    (progress,) = desk.book.progress.values()
    assert progress.stage is Stage.TRAILING and progress.taken
    changes = _changes(desk.effects)
    await store.commit(changes)
    await store.commit([e for e in changes if isinstance(e, fx.StoreProgress)][:1])
    book = await store.load(Policy())
    assert book.progress == desk.book.progress
    assert book.plans == desk.book.plans
    again = Trader(book)
    again.handle(Tick(), desk.time)
    assert again.handle(Tick(), desk.time) == []  # nothing is asked for twice


async def test_a_cancel_on_its_way_survives_a_restart(database: Database) -> None:
    """Incident 10: it may arrive, so its order protects nothing; until that order has ended."""
    store, _ = await _store(database)
    desk = Desk()
    entry = desk.open()
    (first,) = desk.placed(OrderPurpose.STOP_LOSS)
    desk.tell(ex.FillReport(by_hand(desk, Side.SELL, entry.quantity / 2, "9")))
    desk.accept_all()
    assert first.client_order_id in desk.book.cancelling
    for _ in range(2):
        await store.commit(_changes(desk.effects))
    book = await store.load(Policy())
    assert book.leaving == desk.book.cancelling
    desk.tell(report(first, OrderState.CANCELED))
    await store.commit(_changes(desk.effects))
    book = await store.load(Policy())
    assert first.client_order_id not in book.leaving


@pytest.mark.parametrize("strategy", list(ExecutionStrategy))
async def test_an_execution_at_work_survives_a_restart(
    database: Database, strategy: ExecutionStrategy
) -> None:
    """Parts, deadline, price limits and the order under way are read back as they were."""
    store, _ = await _store(database)
    desk = Desk(Policy(execution=ExecutionPolicy(entry_strategy=strategy)))
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[0]
    desk.fill(entry, entry.quantity / 2)
    await store.commit(_changes(desk.effects))
    book = await store.load(Policy())
    assert book.executing.working == desk.book.executing.working
    assert len(book.executing.working) == 1
    assert book.orders == desk.book.orders


async def test_closed_position_is_in_the_table(database: Database) -> None:
    """Incident 84: a closed position is stored with its profit, and its status can be asked."""
    store, _ = await _store(database)
    desk = Desk()
    desk.open()
    desk.fill(desk.placed(OrderPurpose.STOP_LOSS)[0], price=Decimal("99.5"))
    await store.commit(_changes(desk.effects))
    row = await database.pool.fetchrow("select status, pnl_usd from positions")
    closed = next(e.position for e in desk.effects if isinstance(e, fx.PositionClosed))
    assert (row["status"], row["pnl_usd"]) == ("closed", closed.net_pnl)


async def test_an_old_token_writes_nothing(database: Database) -> None:
    """A deposed leader is refused inside its own transaction."""
    store, lease = await _store(database)
    await database.pool.execute(
        "update lease set expires = clock_timestamp() - $1::interval", timedelta(1)
    )
    newer, _ = await _store(database, "b")
    desk = Desk()
    desk.open()
    with pytest.raises(Fenced):
        await store.commit(_changes(desk.effects))
    assert not lease.held
    assert await database.pool.fetchval("select count(*) from orders") == 0
    assert await database.pool.fetchval("select count(*) from outbox") == 0
    await newer.commit(_changes(desk.effects))


async def test_requests_are_answered_once(database: Database) -> None:
    """A repeated request id gets the first answer; for another request it is refused."""
    store, _ = await _store(database)
    views = _views(database)
    arguments = {"state": "HALTED", "reason": "test", "changed_by": "operator"}
    await database.pool.execute(
        "insert into requests (account, request_id, kind, arguments)"
        " values ('main', 'r1', 'set_trading_state', $1)",
        json.dumps(arguments),
    )
    desk = Desk()
    for command in await store.requests():
        assert isinstance(command, inputs.SetTradingState)
        desk.tell(command)
    await store.commit(_changes(desk.effects))
    assert await store.requests() == []
    answers = [
        await views.ask_leader("r1", "set_trading_state", arguments, wait_seconds=1)
        for _ in range(2)
    ]
    assert answers == [(True, {"previous": "ACTIVE", "state": "HALTED"})] * 2
    assert (await store.load(Policy())).trading_state is TradingState.HALTED
    with pytest.raises(AlreadyExists):
        await views.ask_leader("r1", "close_position", {"symbol": "X"}, wait_seconds=1)


async def test_the_latch_survives_restarts_until_its_reset(database: Database) -> None:
    """Incident 71: the latch is stored in the commit that closes everything, and loaded again."""
    store, _ = await _store(database)
    desk = Desk()
    desk.open()
    desk.tell(inputs.EmergencyStop("e1", "drill", "operator"))
    await store.commit(_changes(desk.effects))
    book = await store.load(Policy())
    assert (book.latch, book.trading_state) == (desk.book.latch, TradingState.HALTED)
    view = await _views(database).account()
    assert view is not None and view.latched
    desk.fill(desk.placed(OrderPurpose.EXIT)[-1])
    desk.tell(inputs.ResetEmergency("e2", "looked at", "operator"))
    await store.commit(_changes(desk.effects))
    book = await store.load(Policy())
    assert (book.latch, book.trading_state) == (None, TradingState.HALTED)


async def test_pages_hold_every_order_once(database: Database) -> None:
    """Lists page from the newest to the oldest without gap or repeat."""
    store, _ = await _store(database)
    desk = Desk()
    desk.open()
    base = next(iter(desk.book.orders.values()))
    many = [
        replace(base, client_order_id=f"o{i}", decided_time=base.decided_time + i // 2)
        for i in range(7)
    ]
    await store.commit([fx.OrderChanged(o, None, "test") for o in many])
    views, token, seen = _views(database), "", []
    while True:
        page, token = await views.orders(False, "", 3, token)
        seen += [o.client_order_id for o in page]
        if not token:
            break
    assert seen == [f"o{i}" for i in reversed(range(7))]


async def test_a_commit_reads_the_switches_that_others_wrote(database: Database) -> None:
    """An operator's SQL acts with the next fenced write."""
    store, _ = await _store(database)
    found = await store.commit([])
    assert found is not None and (found.trading_state, found.latch) == (TradingState.ACTIVE, None)
    await database.pool.execute(
        "insert into trading_state values ('main', 'HALTED', 'by hand', 'sql', clock_timestamp())"
    )
    await database.pool.execute(
        "insert into emergency_latch values ('main', true, 'by hand', 'sql', clock_timestamp(), '')"
    )
    found = await store.commit([])
    assert found is not None and found.trading_state is TradingState.HALTED
    assert found.latch is not None and (found.latch.reason, found.latch.by) == ("by hand", "sql")


async def test_two_accounts_do_not_disturb_each_other(database: Database) -> None:
    """One database, two leaders: leases, rows, outbox ids, requests and switches are apart."""
    clock = SystemClock()
    first, _ = await _store(database)
    lease = Lease(database, "account.second", "b", clock)
    assert await lease.take()
    second = PostgresStore(database, lease, "second", "paper")
    desks = {"main": Desk(), "second": Desk(Policy(account="second"))}
    for desk in desks.values():
        desk.open()
    await first.commit(_changes(desks["main"].effects))
    await second.commit(_changes(desks["second"].effects))
    for store, name in ((first, "main"), (second, "second")):
        book = await store.load(Policy(account=name))
        assert book.orders == desks[name].book.orders
        assert book.positions == desks[name].book.positions
    told = await database.pool.fetchval("select count(distinct message_id) from outbox")
    facts = sum(isinstance(e, fx.FACTS) for d in desks.values() for e in d.effects)
    assert told == facts
    views = _views(database, "second")
    with pytest.raises(Unavailable):
        await views.ask_leader("r", "close_position", {"symbol": "BTCUSDT"}, wait_seconds=0.1)
    assert await first.requests() == []
    assert [c.request_id for c in await second.requests()] == ["r"]
    await database.pool.execute(
        "insert into trading_state values ('second', 'HALTED', 'x', 'sql', clock_timestamp())"
    )
    mine, theirs = await first.commit([]), await second.commit([])
    assert mine is not None and mine.trading_state is TradingState.ACTIVE
    assert theirs is not None and theirs.trading_state is TradingState.HALTED


async def test_answered_requests_are_forgotten_after_a_week(database: Database) -> None:
    """An answer is kept for repeats; an open request is never deleted."""
    for name, age in (("old", "8 days"), ("new", "6 days")):
        await database.pool.execute(
            "insert into requests values ('main', $1, 'k', '{}', clock_timestamp(),"
            " clock_timestamp() - $2::text::interval, true, '{}')",
            name,
            age,
        )
    await database.pool.execute(
        "insert into requests (account, request_id, kind, arguments, created_at)"
        " values ('main', 'open', 'k', '{}', clock_timestamp() - interval '30 days')"
    )
    await purge_once(database)
    left = await database.pool.fetch("select request_id from requests order by request_id")
    assert [r["request_id"] for r in left] == ["new", "open"]
