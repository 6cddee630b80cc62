"""Incident 19: what the core cannot handle is told, stops entries, and stops nobody's exit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.executions.execution_policy import ExecutionPolicy
from services.exec_risk.core.inputs import SetTradingState
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.rules import blocked_by
from services.exec_risk.term.core_faults import CoreBroken, carry_over
from services.exec_risk.term.term import Term
from services.trade.execution import ExecutionStrategy
from services.trade.order import OrderPurpose, Side
from services.trade.position import ExitReason, TradingState
from tests.support.eventually import eventually
from tests.unit.exec_risk.account_desk import MINUTE, PRICE, START, SYMBOLS, Desk, signal_of
from tests.unit.exec_risk.test_exec_shell import World, check
from tests.unit.exec_risk.test_exec_store_away import Account


class Odd(int):
    """A time that no age can be told from."""

    def __rsub__(self, other: int) -> int:
        raise TypeError("an odd time")


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with capture_logs() as found:
        yield found


def term_of(world: World) -> Term:
    term = world.leader.term
    assert term is not None
    return term


async def led() -> Account:
    world = World(seed=3, faults=0.0)
    world.exchange.still = True
    world.start()
    account = Account(world)
    await account.move(Side.BUY, Side.BUY)
    await world.point(close=False, crash=False)
    assert len(account.sent(OrderPurpose.STOP_LOSS)) == 2
    return account


async def test_a_poisoned_event_is_told_and_exits_go_on(logged: list[Any]) -> None:
    """Alert, log with the event, degraded, entries blocked by `core_error`, the time exits run."""
    account = await led()
    world = account.world
    poison: Any = ("poison", 42)
    world.leader.put(poison)
    await eventually(lambda: account.book_gate == "core_error", 5, 0.005)
    for _ in range(6):
        await account.move(None, None, Side.BUY)
    await world.point(close=False, crash=False)
    check(world)
    closed = [p for p in world.truth.positions.values() if not p.open]
    assert [p.exit_reason for p in closed] == [ExitReason.TIMEOUT] * 2
    assert len(account.sent(OrderPurpose.ENTRY, live=False)) == 2
    alerts = [a for a in world.truth.alerts if a.alert_type == "CORE_EXCEPTION"]
    assert [a.severity for a in alerts] == ["CRITICAL"] and "poison" in alerts[0].message
    told = [line for line in logged if line["event"] == "core_exception"]
    assert [line["event_content"] for line in told] == [repr(poison)]
    assert "KeyError" in term_of(world).fault

    world.leader.put(SetTradingState("reset", TradingState.ACTIVE, "looked at it"))
    await eventually(lambda: account.book_gate == "", 5, 0.005)
    assert term_of(world).fault == ""
    await world.kill()


async def test_a_failed_core_is_thrown_away(logged: list[Any]) -> None:
    """Half of a change stays in the book that failed; the next one is read from the store."""
    account = await led()
    before = term_of(account.world).trader
    before.book.positions.clear()
    poison: Any = object()
    account.world.leader.put(poison)
    await eventually(lambda: term_of(account.world).trader is not before, 5, 0.005)
    assert set(term_of(account.world).trader.book.positions) == set(SYMBOLS[:2])
    await account.world.point(close=False, crash=False)
    check(account.world)
    await account.world.kill()


async def test_failures_without_end_end_the_process() -> None:
    """After five within a minute the leader ends, with all of them told."""
    account = await led()
    for _ in range(5):
        poison: Any = object()
        account.world.leader.put(poison)
    async with asyncio.timeout(5):
        with pytest.raises(ExceptionGroup) as caught:
            await account.world._tasks[1]
    assert caught.value.subgroup(CoreBroken) is not None
    told = [a for a in account.world.truth.alerts if a.alert_type == "CORE_EXCEPTION"]
    assert len(told) == 5
    await account.world.kill()


async def test_the_process_may_not_die_of_it_alone(logged: list[Any]) -> None:
    """A crash between the failure and its end loses nothing either."""
    account = await led()
    poison: Any = object()
    account.world.leader.put(poison)
    await account.world.kill()
    account.world.start()
    await account.world.point(close=False, crash=False)
    check(account.world)
    await account.world.kill()


def test_a_renewed_core_prices_by_the_quotes_of_the_one_that_failed() -> None:
    """Without them a limit order would be priced by the last trade until the next quote."""
    policy = Policy(execution=ExecutionPolicy(entry_strategy=ExecutionStrategy.LIMIT))

    def priced(*, renewed: bool) -> Decimal | None:
        desk = Desk(policy)
        desk.round()
        bid, ask = Decimal("99.98"), Decimal("100.02")
        desk.tell(ex.PriceReport("BTCUSDT", desk.time, PRICE, bid, ask, Decimal("0.0001")))
        if renewed:
            again = desk.restart()
            again.book.executing.volumes.update(desk.book.executing.volumes)
            carry_over(desk.book, again.book)
            assert again.book.quotes == desk.book.quotes and again.book.priced
            desk = again
        order = inputs.SubmitExecution(
            "r", "BTCUSDT", Side.BUY, ExecutionStrategy.LIMIT, quantity=Decimal(1)
        )
        desk.tell(order)
        return desk.placed(OrderPurpose.ENTRY)[-1].price

    assert priced(renewed=True) == priced(renewed=False) != PRICE


def test_a_cancel_of_the_core_that_failed_may_still_arrive() -> None:
    """Incident 10: its stop stands in for nothing, in the renewed core either."""
    desk = Desk()
    entry = desk.open()
    stop = desk.placed(OrderPurpose.STOP_LOSS)[-1]
    desk.book.cancelling.add(stop.client_order_id)
    again = desk.restart()
    carry_over(desk.book, again.book)
    again.tell(inputs.Tick())
    other = again.placed(OrderPurpose.STOP_LOSS)[-1]
    assert other.client_order_id != stop.client_order_id
    assert other.quantity == entry.quantity


def test_one_position_that_cannot_be_judged_does_not_hold_up_the_others() -> None:
    """The exit of every other position is decided; what failed is noted for the shell."""
    desk = Desk()
    for symbol in SYMBOLS[:2]:
        desk.time += MINUTE
        desk.open(symbol)
    broken = replace(desk.book.positions[SYMBOLS[0]], opened_time=Odd(START))
    desk.book.positions[SYMBOLS[0]] = broken
    desk.effects.clear()
    desk.time += desk.book.policy.protection.max_holding_ms
    desk.round(signal_of(SYMBOLS[2], Side.BUY, desk.time))
    exits = [o.symbol for o in desk.placed() if o.purpose is OrderPurpose.EXIT]
    assert exits == [SYMBOLS[1]]
    assert [text.split(":")[0] for text in desk.book.failed] == [f"TypeError for {SYMBOLS[0]}"]
    assert blocked_by(desk.book) == ""


def test_exits_fall_due_though_nobody_answers_rounds_any_more() -> None:
    """NATS gone: rounds come faster than one after the other could be given up; all are decided."""
    desk = Desk()
    desk.open()
    opened = desk.time
    for _ in range(desk.book.policy.protection.max_holding_ms // MINUTE + 8):
        desk.time += MINUTE
        for part in range(3):
            desk.tell(ex.PointReached(0, desk.time - MINUTE + part * 20_000))
        desk.round(skip=SYMBOLS)
        waiting = desk.trader.unanswered_rounds()
        for time in waiting[:-8]:
            desk.tell(inputs.RoundTimedOut(time))
    exits = [o for o in desk.placed() if o.purpose is OrderPurpose.EXIT]
    assert len(exits) == 1 and exits[0].decided_time >= opened
