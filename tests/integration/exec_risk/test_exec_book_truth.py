"""The account read back from PostgreSQL decides as the one in memory, after any history."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from services.exec_risk.app import MIGRATIONS, SCHEMA
from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.risk import entry_counts
from services.exec_risk.core.risk.risk_policy import RiskPolicy
from services.exec_risk.core.rules import blocked_by
from services.exec_risk.core.state import KEEP_MS, Book
from services.exec_risk.store import PostgresStore
from services.kit.clock import SystemClock
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Lease
from services.kit.postgres.migrate import migrate
from services.trade.order import OrderPurpose, OrderState, Side
from services.trade.position import SafetyLevel, TradingState
from tests.unit.exec_risk.account_desk import MINUTE, SYMBOLS, Desk, report, signal_of

D = Decimal
POLICY = Policy(
    cooldown_ms=MINUTE,
    risk=RiskPolicy(kelly_min_trades=3, max_symbol_losses=3, emergency_losses=6),
)


@pytest_asyncio.fixture
async def store(postgres_dsn: str) -> AsyncIterator[PostgresStore]:
    """A store that leads, on a migrated schema."""
    await migrate(postgres_dsn, SCHEMA, MIGRATIONS)
    database = await Database.connect(postgres_dsn, schema=SCHEMA, application_name="test")
    lease = Lease(database, "account.main", "a", SystemClock())
    assert await lease.take()
    yield PostgresStore(database, lease, "main", "paper")
    await database.close()


def deciding(book: Book) -> dict[str, Any]:
    """Everything of a book that decisions rest on and no exchange would tell again."""
    limits = book.policy.risk
    active = {p.position_id for p in book.positions.values()}
    active |= {o.position_id for o in book.live_orders()}
    # memory forgets at the end of a UTC day, so it holds a little more than is read back
    since, told_again = book.time - KEEP_MS, book.recognised_from()
    orders = {k: o for k, o in book.orders.items() if o.updated_time >= since or not o.state.final}
    return {
        "time": book.time,
        "orders": orders,
        "positions": book.positions,
        "plans": {o.position_id: book.plans[o.position_id] for o in orders.values()},
        "counts": {k: n for k, n in book.counts.items() if k[0] in active},
        "fills": {k for k, t in book.seen_fills.items() if t >= told_again and "." not in k[1]},
        "commissions": {k: v for k, v in book.commissions.items() if v and k in orders},
        "funding": {k for k, t in book.seen_funding.items() if t >= told_again},
        "last_closed": {s: t for s, t in book.last_closed.items() if t >= since},
        "days": {d.day: d for d in book.days.values()},
        "wallet": book.wallet,
        "high_water": book.high_water,
        "latch": book.latch,
        "trading_state": book.trading_state,
        "safety": (book.safety, book.safety_since),
        "results": book.results.trades,
        "kelly": book.results.kelly(limits.kelly_window, limits.kelly_min_trades),
        "last_round": book.last_round,
        "prices": book.prices,
        "quotes": book.quotes,
        "today": (
            entry_counts.entries_today(book),
            entry_counts.entries_since(book, MINUTE),
            book.day_loss(),
        ),
        "failed": entry_counts.failed_entries(book, limits.execution_errors_ms),
        "gate": blocked_by(book),
    }


@pytest.mark.parametrize("seed", range(3))
async def test_a_book_that_is_read_back_decides_the_same(store: PostgresStore, seed: int) -> None:
    """Incidents 12, 53, 71, 92: counters, streaks, latch, levels and reservations survive."""
    dice = random.Random(seed)  # noqa: S311 - a seeded test
    desk = Desk(POLICY)
    told = 0
    for number in range(40):
        desk.time += dice.choice([MINUTE, 5 * MINUTE, 300 * MINUTE])
        _happen(desk, dice, number)
        desk.round()
        if number % 8 == 7:
            changes = [e for e in desk.effects[told:] if not isinstance(e, fx.ACTIONS)]
            told = len(desk.effects)
            await store.commit(changes)
            book = await store.load(POLICY)
            book.filters, book.leverage = desk.book.filters, desk.book.leverage
            assert deciding(book) == deciding(desk.book)
    assert desk.book.results.trades


async def test_the_day_and_the_level_of_a_stored_account_are_loaded(store: PostgresStore) -> None:
    """Incidents 11 and 92: each is read under its own name; a day that is over does not count."""
    desk = Desk(POLICY)
    desk.open()
    desk.fill(desk.placed(OrderPurpose.STOP_LOSS)[0], price=D(99))
    desk.book.safety, desk.book.safety_since = SafetyLevel.CAUTIOUS, desk.time
    desk.book.emit(
        fx.SafetyLevelChanged(SafetyLevel.NORMAL, SafetyLevel.CAUTIOUS, "test", desk.time)
    )
    desk.round()
    await store.commit([e for e in desk.effects if not isinstance(e, fx.ACTIONS)])
    book = await store.load(POLICY)
    (day,) = book.days.values()
    assert (day.opened, day.trades, day.losses) == (1, 1, 1)
    assert (book.safety, book.safety_since) == (SafetyLevel.CAUTIOUS, desk.time)
    assert (entry_counts.entries_today(book), book.results.losses_in_a_row()) == (1, 1)
    book.time += 24 * 60 * MINUTE
    assert (entry_counts.entries_today(book), book.results.symbol_losses("BTCUSDT", book.time)) == (
        0,
        0,
    )


def _happen(desk: Desk, dice: random.Random, number: int) -> None:
    """One thing of a trading day: signals, fills, refusals, funding, prices, operators."""
    for symbol in SYMBOLS:
        bid = D(100) - D(dice.randint(1, 9)) / 100
        rate = D(dice.randint(-12, 12)) / 10_000
        desk.tell(ex.PriceReport(symbol, desk.time, D(100), bid, D("100.05"), rate))
    desk.round(
        *(
            signal_of(s, dice.choice(list(Side)), desk.time, dice.random())
            for s in SYMBOLS
            if dice.random() < 0.7
        )
    )
    for order in desk.book.live_orders():
        _answer(desk, dice, replace(order))
    if number == 25:
        state = dice.choice(list(TradingState))
        desk.tell(inputs.SetTradingState(f"s{number}", state, "test"))
    if number == 33 and dice.random() < 0.5:
        desk.tell(inputs.EmergencyStop(f"e{number}", "test", "operator"))
    if dice.random() < 0.2:
        amount = D(dice.randint(-9, 9)) / 10
        desk.tell(ex.FundingReport(dice.choice(SYMBOLS), amount, desk.time, f"f{number}"))


def _answer(desk: Desk, dice: random.Random, order: Any) -> None:
    protection = order.purpose in (OrderPurpose.STOP_LOSS, OrderPurpose.TAKE_PROFIT)
    chance = dice.random()
    if order.client_order_id in desk.book.cancelling:
        desk.tell(report(order, OrderState.CANCELED))
    elif protection and (chance < 0.7 or order.symbol not in desk.book.positions):
        desk.accept(order)
    elif chance < 0.1 and not protection:
        desk.refuse(order, "-2019")
    elif chance < 0.9:
        desk.fill(order, price=D(100) + D(dice.randint(-60, 50)) / 100)
