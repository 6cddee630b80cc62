"""What stops an execution, holds it up, or has its order sent again."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.executions.execution_life import ENDS, PHASES, end, enter
from services.exec_risk.core.orders.lifecycle import IllegalTransition
from services.exec_risk.core.risk import entry_counts
from services.trade.execution import (
    ExecutionPhase,
    ExecutionState,
    ExecutionStrategy,
)
from services.trade.order import OrderPurpose, OrderState, Side
from services.trade.position import TradingState
from tests.unit.exec_risk.account_desk import MINUTE, Desk, report, signal_of
from tests.unit.exec_risk.execution_desk import (
    BTC,
    cancels,
    desk_of,
    enter_by_signal,
    entries,
    price,
    submitted,
    the_execution,
)

D = Decimal
ENTRY = OrderPurpose.ENTRY
LIMIT, TWAP, ICEBERG = ExecutionStrategy.LIMIT, ExecutionStrategy.TWAP, ExecutionStrategy.ICEBERG


@pytest.mark.parametrize("strategy", [LIMIT, TWAP, ICEBERG])
@pytest.mark.parametrize("how", ["state", "drain", "latch", "opposite", "close"])
def test_whatever_stops_entries_stops_the_rest_of_one(
    strategy: ExecutionStrategy, how: str
) -> None:
    """Incident 122: halted, draining, latched or turned, no further part is sent."""
    desk = desk_of(strategy)
    first = enter_by_signal(desk)
    desk.accept(first)
    desk.fill(first, first.quantity / 2)
    if how == "state":
        desk.tell(inputs.SetTradingState("s", TradingState.REDUCING, "test"))
    elif how == "drain":
        desk.tell(inputs.GatesChanged(replace(desk.book.gates, draining=True)))
    elif how == "latch":
        desk.tell(inputs.EmergencyStop("e", "test", "person"))
    elif how == "close":
        desk.tell(inputs.ClosePosition("c", BTC))
    else:
        desk.time += MINUTE
        desk.round(signal_of(BTC, Side.SELL, desk.time))
    state = OrderState.EXPIRED if strategy is TWAP else OrderState.CANCELED
    if strategy is not TWAP:
        assert cancels(desk)[-1] == first.client_order_id
    desk.tell(replace(report(first, state), filled_quantity=first.quantity / 2))
    price(desk, "100", 40)
    desk.tell(inputs.Tick())
    assert len(entries(desk)) == 1
    assert the_execution(desk).state is ExecutionState.CANCELED
    assert desk.book.reserved() == 0
    assert bool(desk.placed(OrderPurpose.EXIT)) is (how in ("latch", "opposite", "close"))


@pytest.mark.parametrize(
    ("code", "retryable", "orders"),
    [("-1003", True, 3), ("-2019", False, 1), ("-1111", False, 1), ("-4164", False, 1)],
)
def test_only_what_a_retry_can_cure_is_sent_again(code: str, retryable: bool, orders: int) -> None:
    """Incidents 38, 48 and 52: bounded, after a pause, and nothing stays reserved."""
    desk = Desk()
    enter_by_signal(desk)
    for pause in (1, 2, 4, 8):
        pending = [o for o in desk.book.live_orders(BTC) if o.purpose is ENTRY]
        if pending:
            desk.refuse(pending[0], code, retryable=retryable)
        assert not desk.book.live_orders(BTC), "sent again without a pause"
        price(desk, "100", pause)
    assert len(entries(desk)) == orders
    assert len({o.client_order_id for o in entries(desk)}) == orders
    assert the_execution(desk).state is ExecutionState.FAILED
    assert desk.book.reserved() == 0 and entry_counts.slots_used(desk.book) == 0


def test_a_lost_answer_blocks_further_orders_until_it_is_resolved() -> None:
    """Incident 26: outcome unknown counts as live, however often the next part falls due."""
    desk = Desk()
    order = submitted(desk, TWAP)
    desk.tell(inputs.PlaceAnswered(order.client_order_id, ex.Unknown("lost")))
    for _ in range(5):
        price(desk, "100", 30)
    assert len(entries(desk)) == 1
    desk.tell(inputs.OrderFound(order.client_order_id, report(order)))
    desk.fill(order)
    price(desk, "100", 1)
    assert entries(desk)[-1].quantity == D("0.5")


def test_a_stop_of_unknown_outcome_holds_up_the_next_part() -> None:
    """Incident 26: an unknown outcome blocks its symbol, also that of another order."""
    desk = Desk()
    order = submitted(desk, TWAP)
    desk.accept(order)
    desk.fill(order)
    (stop,) = desk.placed(OrderPurpose.STOP_LOSS)
    desk.tell(inputs.PlaceAnswered(stop.client_order_id, ex.Unknown("lost")))
    price(desk, "100", 40)
    assert entries(desk) == [order]
    for one in desk.placed(OrderPurpose.STOP_LOSS):
        desk.tell(inputs.OrderFound(one.client_order_id, report(one)))
    price(desk, "100", 1)
    assert len(entries(desk)) == 2


def test_a_late_fill_of_a_cancelled_order_reduces_what_is_left() -> None:
    """The exchange took back its word: the next order gives way, nothing fills twice."""
    desk = Desk()
    first = submitted(desk, LIMIT)
    desk.accept(first)
    price(desk, "100.10", 20)
    desk.tell(report(first, OrderState.CANCELED))
    second = entries(desk)[-1]
    desk.accept(second)
    desk.fill(first, D("0.3"))
    assert cancels(desk)[-1] == second.client_order_id
    desk.tell(report(second, OrderState.CANCELED))
    assert entries(desk)[-1].quantity == D("0.7")
    assert the_execution(desk).filled_quantity == D("0.3")


def test_a_cancel_that_was_refused_is_asked_again_when_it_is_known_that_it_rests() -> None:
    """Incident 64: no storm of cancels while it is found out what became of the order."""
    desk = Desk()
    order = submitted(desk, LIMIT)
    desk.accept(order)
    for _ in range(4):
        price(desk, "100.10", 20)
        too_late = ex.Refused("-2011", "unknown order")
        desk.tell(inputs.CancelAnswered(order.client_order_id, too_late))
        desk.tell(inputs.Tick())
    assert len(cancels(desk)) == 1
    desk.tell(inputs.OrderFound(order.client_order_id, report(order)))
    desk.tell(inputs.Tick())
    assert len(cancels(desk)) == 2
    assert len(entries(desk)) == 1


def test_an_order_cancelled_by_somebody_else_ends_the_execution() -> None:
    desk = Desk()
    order = submitted(desk, LIMIT)
    desk.accept(order)
    desk.tell(report(order, OrderState.CANCELED))
    assert the_execution(desk).state is ExecutionState.CANCELED
    assert len(entries(desk)) == 1


def test_only_named_steps_are_legal() -> None:
    desk = Desk()
    enter_by_signal(desk)
    found = the_execution(desk)
    for phase in ExecutionPhase:
        if (found.phase, phase) in PHASES:
            assert enter(found, phase, time=0, reason="x").phase is phase
        else:
            with pytest.raises(IllegalTransition):
                enter(found, phase, time=0, reason="x")
    with pytest.raises(IllegalTransition):
        end(found, time=0)
    assert {state for _, state in ENDS} == set(ExecutionState) - {ExecutionState.WORKING}
