"""PostgreSQL gone: no entries; exits and cancels go on and are recorded when it is back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio

from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core.facts import Latch
from services.exec_risk.core.inputs import (
    ClosePosition,
    EmergencyStop,
    Prediction,
    PredictionsArrived,
)
from services.exec_risk.core.rules import blocked_by
from services.exec_risk.term.latch_file import LatchFile
from services.trade.order import Order, OrderPurpose, OrderState, Side
from services.trade.position import ExitReason, TradingState
from tests.support.eventually import eventually
from tests.unit.exec_risk.account_desk import SYMBOLS, signal_of
from tests.unit.exec_risk.test_exec_shell import LIMITS, World, check

How = Literal["refuses", "hangs"]


class Account:
    """A world that is told what to do, with one LONG of the first symbol."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def book_gate(self) -> str:
        term = self.world.leader.term
        return "no term" if term is None else blocked_by(term.trader.book)

    async def move(self, *sides: Side | None, wait: bool = True) -> ex.PointReached:
        """Close a candle on every symbol with these signals, in the symbols' order."""
        point = self.world.exchange.step(close=True)
        found = []
        for symbol, side in zip(SYMBOLS, (*sides, None, None, None), strict=False):
            signal = signal_of(symbol, side, point.time) if side else None
            found.append(Prediction(symbol, "1m", point.time, signal))
        self.world.leader.put(PredictionsArrived(tuple(found)))
        if wait:
            await eventually(lambda: self.world.exchange.idle_at >= point.number, 5, 0.005)
        return point

    def sent(self, purpose: OrderPurpose, *, live: bool = True) -> list[Order]:
        """Return what the exchange was given."""
        found = [o for o in self.world.exchange.orders.values() if o.purpose is purpose]
        return [o for o in found if not live or not o.state.final]

    async def back(self) -> None:
        """Let the store answer, let what waits be kept, and compare both sides."""
        self.world.truth.come_back()
        term = self.world.leader.term
        assert term is not None
        await eventually(lambda: not term.store_away, 5, 0.005)
        self.world.exchange.lockstep = True
        await self.world.point(close=False, crash=False)
        await self.world.point(close=False, crash=False)
        uncommitted, self.world.exchange.uncommitted = self.world.exchange.uncommitted, []
        check(self.world)
        self.world.exchange.uncommitted = uncommitted


@pytest_asyncio.fixture
async def account() -> AsyncIterator[Account]:
    world = World(seed=3, faults=0.0)
    world.exchange.still = True
    world.start()
    made = Account(world)
    await made.move(Side.BUY)
    await world.point(close=False, crash=False)
    assert made.sent(OrderPurpose.STOP_LOSS)
    yield made
    await world.kill()


async def gone(account: Account, how: How) -> None:
    account.world.exchange.lockstep = False
    account.world.truth.leave(how)
    account.world.exchange.step(close=False)
    await eventually(lambda: account.book_gate == "postgres", 5, 0.005)


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_an_exit_that_falls_due_goes_out_and_no_entry_does(
    account: Account, how: How
) -> None:
    """Postgres gone: the time exit closes reduce-only, a signal is refused by `postgres`."""
    await gone(account, how)
    for _ in range(6):
        await account.move(None, Side.BUY, wait=False)
    await eventually(lambda: account.sent(OrderPurpose.EXIT), 5, 0.005)
    account.world.exchange.step(close=False)
    await eventually(lambda: not account.sent(OrderPurpose.STOP_LOSS), 5, 0.005)
    assert len(account.sent(OrderPurpose.ENTRY, live=False)) == 1
    await account.back()
    assert all(o.reduce_only for o in account.world.exchange.uncommitted)
    truth = account.world.truth
    closed = [p for p in truth.positions.values() if not p.open]
    assert [p.exit_reason for p in closed] == [ExitReason.TIMEOUT]
    assert "POSTGRES_AWAY" in {a.alert_type for a in truth.alerts}
    await eventually(lambda: account.book_gate == "", 5, 0.005)


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_an_entry_that_was_decided_just_before_is_withdrawn(
    account: Account, how: How
) -> None:
    """Its commit did not hold in time: it is never sent, and ends as refused."""
    account.world.exchange.lockstep = False
    account.world.truth.leave(how)
    await account.move(None, Side.BUY, wait=False)
    await eventually(lambda: account.book_gate == "postgres", 5, 0.005)
    await account.back()
    entries = {o.symbol: o for o in account.world.truth.orders.values() if not o.reduce_only}
    assert entries[SYMBOLS[1]].state is OrderState.REJECTED
    assert [o.symbol for o in account.sent(OrderPurpose.ENTRY, live=False)] == [SYMBOLS[0]]


async def test_in_lockstep_the_market_waits_and_decides_the_same(account: Account) -> None:
    """Nothing grows old while the market stands: the entry is sent once it is kept."""
    account.world.truth.leave("refuses")
    point = await account.move(None, Side.BUY, wait=False)
    term = account.world.leader.term
    assert term is not None
    await eventually(lambda: term.store_away, 5, 0.005)
    assert account.world.exchange.idle_at < point.number
    assert len(account.sent(OrderPurpose.ENTRY, live=False)) == 1
    account.world.truth.come_back()
    await eventually(lambda: account.world.exchange.idle_at >= point.number, 5, 0.005)
    assert len(account.sent(OrderPurpose.ENTRY, live=False)) == 2
    check(account.world)


async def test_an_operator_closes_without_postgres(account: Account) -> None:
    """The request reaches the leader of the same process in memory; a repeat is not a second."""
    await gone(account, "hangs")
    term = account.world.leader.term
    assert term is not None
    command = ClosePosition("close-1", SYMBOLS[0])
    first = await term.direct.ask(command, wait_seconds=5)
    again = await term.direct.ask(command, wait_seconds=5)
    assert first.ok and first == again
    await eventually(lambda: len(account.sent(OrderPurpose.EXIT)) == 1, 5, 0.005)
    await account.back()
    assert account.world.truth.answers["close-1"].ok
    assert not [p for p in account.world.truth.positions.values() if p.open]


async def test_who_sees_another_leader_sends_nothing(account: Account) -> None:
    """Behind a partition a standby may lead: an entry that is not ours says so."""
    await gone(account, "refuses")
    exchange = account.world.exchange
    theirs = replace(account.sent(OrderPurpose.ENTRY, live=False)[0], client_order_id="qte0-theirs")
    report = replace(exchange._report(theirs), state=OrderState.ACCEPTED, reduce_only=False)
    exchange.inbox.put_nowait(report)
    term = account.world.leader.term
    assert term is not None
    await term.direct.ask(ClosePosition("close-1", SYMBOLS[0]), wait_seconds=5)
    assert not account.sent(OrderPurpose.EXIT)


async def test_a_switch_moved_in_the_database_acts_with_the_next_write(account: Account) -> None:
    """A leader reads the trading state with each fenced write."""
    account.world.truth.trading_state = TradingState.HALTED
    await account.move(None, None)
    await eventually(lambda: account.book_gate == "trading_state", 5, 0.005)
    before = len(account.sent(OrderPurpose.ENTRY, live=False))
    await account.move(None, Side.BUY)
    assert len(account.sent(OrderPurpose.ENTRY, live=False)) == before


@pytest.mark.parametrize("seed", range(4))
async def test_outages_and_crashes_lose_and_double_nothing(seed: int) -> None:
    """Incidents 7, 12, 26, 27, 82 while PostgreSQL comes and goes, in lockstep."""
    world = World(seed + 100, faults=0.08)
    world.start()
    for number in range(20):
        how: How = "hangs" if world.dice.random() < 0.5 else "refuses"
        if world.dice.random() < 0.4:
            world.truth.leave(how)
        point = world.exchange.step(close=number % 2 == 0)
        batch = world._answers(point.time) if number % 2 == 0 else None
        world._deliver(batch)
        term = world.leader.term
        if world.truth.away and term is not None:
            await eventually(lambda t=term: t.store_away, 5, 0.005)  # type: ignore[misc]
        if world.dice.random() < 0.2:
            await world.kill()
            world.start()
            world._deliver(batch)
            world.exchange.inbox.put_nowait(point)
        world.truth.come_back()
        await eventually(lambda n=point.number: world.exchange.idle_at >= n, 8, 0.005)  # type: ignore[misc]
        assert all(o.reduce_only for o in world.exchange.uncommitted)
        assert all(o.reduce_only for o in world.exchange.accepted_twice)
        world.exchange.uncommitted.clear()
        world.exchange.accepted_twice.clear()
        check(world)
    assert world.exchange.fills
    await world.kill()


LATCH = LIMITS.latch_file.with_name(f"{LIMITS.latch_file.name}.main")


async def stop_without_store(account: Account) -> None:
    await gone(account, "refuses")
    term = account.world.leader.term
    assert term is not None
    command = EmergencyStop("stop-1", "smoke", "operator")
    answer = await term.direct.ask(command, wait_seconds=5)
    assert answer.result["latched"] == "true" and answer.result["positions_closing"] == "1"
    assert LATCH.exists() and account.world.truth.latch is None


async def test_an_emergency_stop_flattens_first_and_latches_until_it_is_written(
    account: Account,
) -> None:
    """In memory and on disk while the latch cannot be written; in PostgreSQL afterwards."""
    await stop_without_store(account)
    await eventually(lambda: account.sent(OrderPurpose.EXIT), 5, 0.005)
    await account.back()
    truth = account.world.truth
    assert truth.latch is not None and truth.latch.reason == "smoke"
    assert not LATCH.exists()
    closed = [p.exit_reason for p in truth.positions.values() if not p.open]
    assert closed == [ExitReason.EMERGENCY_STOP]
    assert not account.sent(OrderPurpose.STOP_LOSS)


async def test_an_emergency_stop_outlives_a_crash_without_postgres(account: Account) -> None:
    """The process dies before the latch is written: the next start reads it from disk."""
    await stop_without_store(account)
    await account.world.kill()
    account.world.truth.come_back()
    account.world.exchange.lockstep = True
    account.world.start()
    await account.move(None, Side.BUY)
    await account.world.point(close=False, crash=False)
    truth = account.world.truth
    assert truth.latch is not None and truth.latch.by == "operator"
    assert not [p for p in truth.positions.values() if p.open]
    assert len(account.sent(OrderPurpose.ENTRY, live=False)) == 1
    assert not LATCH.exists()


def test_a_latch_that_cannot_be_read_is_a_latch(tmp_path: Path) -> None:
    """Anything unreadable means: no entries."""
    file = LatchFile(tmp_path / "latch", "main")
    assert file.read() is None
    (tmp_path / "latch.main").write_text("{half")
    found = file.read()
    assert found is not None and "makes no sense" in found.reason
    file.write(Latch("why", "who", 5, "id"))
    assert file.read() == Latch("why", "who", 5, "id")
    file.remove()
    assert file.read() is None


async def test_a_latch_written_by_another_acts_with_the_next_write(account: Account) -> None:
    """A leader reads the latch with each fenced write: all is closed at once."""
    account.world.truth.latch = Latch("by SQL", "somebody", 1)
    await account.move(None, None)
    await eventually(lambda: account.sent(OrderPurpose.EXIT, live=False), 5, 0.005)
    await account.world.point(close=False, crash=False)
    await account.world.point(close=False, crash=False)
    assert not [p for p in account.world.truth.positions.values() if p.open]
    assert account.book_gate != ""
