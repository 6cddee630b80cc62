"""Defects that seeds of the simulation found: which stops stand in for which."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.executions.execution_policy import ExecutionPolicy
from services.exec_risk.core.orders.orders import goes
from services.exec_risk.core.policy import Policy
from services.trade import ids
from services.trade.execution import ExecutionStrategy
from services.trade.order import OrderPurpose, OrderState, Side
from services.trade.position import TradingState
from tests.unit.exec_risk.account_desk import MINUTE, Desk, report, signal_of
from tests.unit.exec_risk.exchange_readings import by_hand, reading

D = Decimal


def test_a_larger_stop_stays_while_its_entry_may_have_filled_on() -> None:
    """Incident 10: what fills on is held before it is heard of."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    desk.fill(entry, entry.quantity - D("0.010"))
    desk.accept_all()
    large = desk.placed(OrderPurpose.STOP_LOSS)[-1]
    desk.tell(ex.FillReport(by_hand(desk, Side.SELL, D("0.020"), "9")))
    desk.accept_all()
    small = desk.placed(OrderPurpose.STOP_LOSS)[-1]
    desk.tell(inputs.Tick())
    assert small.quantity < large.quantity
    assert large.client_order_id not in desk.book.cancelling
    desk.fill(entry, D("0.010"))
    desk.accept_all()
    desk.tell(inputs.Tick())
    assert large.client_order_id in desk.book.cancelling


@settings(max_examples=40)
@given(shares=st.lists(st.integers(1, 40), min_size=2, max_size=12))
def test_what_may_still_fill_is_covered_by_the_stops_beside_the_best(shares: list[int]) -> None:
    """Incident 10: the largest stop closed its part while the entry filled its last one."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    step, left = D("0.001"), entry.quantity
    for share in shares:
        part = min(left - step, max(step, (entry.quantity * share / 100).quantize(step)))
        if part <= 0:
            break
        desk.fill(entry, part)
        left -= part
        desk.accept_all()
        position = desk.book.positions["BTCUSDT"]
        stops = desk.book.orders_of(position.position_id, OrderPurpose.STOP_LOSS)
        rest = [o for o in stops if not goes(desk.book, o)]
        there = sum((o.remaining for o in rest), D(0))
        assert there >= entry.quantity or len(rest) == len(desk.placed(OrderPurpose.STOP_LOSS))
        assert max(o.remaining for o in rest) == position.quantity
        for order in stops:
            if goes(desk.book, order):
                desk.tell(report(order, OrderState.CANCELED))
    desk.tell(report(entry, OrderState.CANCELED))
    desk.tell(inputs.Tick())
    stops = desk.book.orders_of(position.position_id, OrderPurpose.STOP_LOSS)
    assert sum(not goes(desk.book, o) for o in stops) == 1


def test_when_nothing_enters_any_more_the_smaller_stops_go_at_once() -> None:
    """A stop that is not needed goes with what it was for, not with the next tick or order."""
    policy = ExecutionPolicy(entry_strategy=ExecutionStrategy.TWAP, slices=3)
    desk = Desk(Policy(execution=policy))
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    for _ in range(2):
        desk.time = max(desk.time, *(e.next_time for e in desk.book.executing.working))
        desk.tell(ex.PointReached(desk.time // MINUTE, desk.time))
        desk.accept_all()
        desk.fill(desk.placed(OrderPurpose.ENTRY)[-1])
        desk.accept_all()
    first = desk.placed(OrderPurpose.STOP_LOSS)[0]
    assert first.client_order_id not in desk.book.cancelling, "a third part is to follow"
    desk.tell(inputs.SetTradingState("ask", TradingState.REDUCING, "a person", "test"))
    assert not desk.book.executing.busy
    assert first.client_order_id in desk.book.cancelling


def test_a_larger_stop_stays_while_parts_of_its_entry_follow() -> None:
    """Incident 10: the next part of an iceberg is sent and filled while a cancel is on its way."""
    policy = ExecutionPolicy(entry_strategy=ExecutionStrategy.ICEBERG, slices=5)
    desk = Desk(Policy(execution=policy))
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    for _ in range(3):
        desk.accept_all()
        part = desk.placed(OrderPurpose.ENTRY)[-1]
        desk.fill(part)
    small, large = desk.placed(OrderPurpose.STOP_LOSS)[-2:]
    assert (small.quantity, large.quantity) == (2 * part.quantity, 3 * part.quantity)
    desk.tell(ex.FillReport(by_hand(desk, Side.SELL, 2 * part.quantity, "9")))
    desk.accept_all()
    assert large.client_order_id not in desk.book.cancelling
    part = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.tell(inputs.CancelOrder("ask", part.client_order_id))
    desk.tell(report(part, OrderState.CANCELED))
    desk.tell(inputs.Tick())
    assert not desk.book.executing.busy
    assert large.client_order_id in desk.book.cancelling


def test_a_stop_whose_cancel_may_still_arrive_stands_in_for_nothing() -> None:
    """Incident 10: a lost cancel came late, after the stops that it stood in for were cancelled."""
    desk = Desk()
    desk.open()
    first = desk.placed(OrderPurpose.STOP_LOSS)[-1]
    half = first.quantity / 2
    desk.tell(ex.FillReport(by_hand(desk, Side.SELL, half, "9")))
    desk.accept_all()
    second = desk.placed(OrderPurpose.STOP_LOSS)[-1]
    assert desk.book.cancelling >= {first.client_order_id}
    lost = ex.Unknown("no answer")
    desk.tell(inputs.CancelAnswered(first.client_order_id, lost))
    desk.tell(ex.FillReport(by_hand(desk, Side.BUY, half, "10")))
    desk.tell(inputs.OrderFound(first.client_order_id, report(first)))
    third = desk.placed(OrderPurpose.STOP_LOSS)[-1]
    assert third.quantity == first.quantity
    assert second.client_order_id not in desk.book.cancelling
    desk.accept(third)
    assert third.client_order_id not in desk.book.cancelling
    assert desk.book.cancelling >= {first.client_order_id, second.client_order_id}


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_a_stop_whose_trigger_nobody_knows_is_never_the_one_that_stays(side: Side) -> None:
    """Incident 21: it would be preferred and yet not fit, and stops be replaced without an end."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", side, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    desk.fill(entry)
    desk.accept_all()
    (stop,) = desk.placed(OrderPurpose.STOP_LOSS)
    lost = ids.client_order_id("main", stop.position_id, "stop", 7)
    found = replace(
        report(stop), client_order_id=lost, conditional=True, reduce_only=True, trigger_price=None
    )
    held = entry.quantity * side.sign
    read = reading(desk, held, D(10_000))
    resting = (*read.snapshot.open_orders, found)
    desk.tell(replace(read, snapshot=replace(read.snapshot, open_orders=resting)))
    gone = {e.order.client_order_id for e in desk.effects if isinstance(e, fx.Cancel)}
    assert gone == {lost}
    for _ in range(3):
        desk.tell(inputs.Tick())
    assert desk.placed(OrderPurpose.STOP_LOSS) == [stop]
