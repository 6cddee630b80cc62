"""Executions: nothing is sent twice, a remainder goes on, and every one of them ends."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core.executions.execution_policy import ExecutionPolicy
from services.exec_risk.core.policy import Policy
from services.trade.execution import Execution, ExecutionStrategy
from services.trade.order import Order, OrderPurpose
from tests.unit.exec_risk.execution_street import SYMBOL, Street

D = Decimal
ENTRY = OrderPurpose.ENTRY
STRATEGIES = list(ExecutionStrategy)


def policy_of(strategy: ExecutionStrategy) -> Policy:
    """A policy whose signals are executed so."""
    return Policy(cooldown_ms=0, execution=ExecutionPolicy(entry_strategy=strategy))


def of(street: Street, execution: Execution, orders: list[Order]) -> list[Order]:
    """Orders of an execution among some."""
    return [o for o in orders if o.execution_id == execution.execution_id]


def check(street: Street) -> None:
    """Filled and what may still fill stay within the quantity, here and at the exchange."""
    book = street.desk.book
    for execution in street.executions:
        ours = of(street, execution, list(book.orders.values()))
        live = [o for o in ours if not o.state.final]
        assert len(live) <= 1, "two orders of an execution live"
        filled = sum((o.filled_quantity for o in ours), D(0))
        assert filled == execution.filled_quantity
        assert filled + sum((o.remaining for o in live), D(0)) <= execution.quantity
        theirs = of(street, execution, list(street.orders.values()))
        there = sum((o.filled_quantity for o in theirs), D(0))
        resting = sum((o.remaining for o in theirs if not o.state.final), D(0))
        assert there + resting <= execution.quantity
        if execution.state.final:
            assert not live
    on_way = {o.client_order_id for o in street.unanswered}
    assert not on_way & set(street.orders)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(STRATEGIES), st.integers(0, 10**9), st.integers(10, 120))
def test_filled_and_open_never_exceed_the_quantity(
    strategy: ExecutionStrategy, seed: int, steps: int
) -> None:
    """Incidents 23, 26, 27: parts, refusals, lost answers, late fills, cancels, restarts."""
    street = Street(policy_of(strategy), seed)
    street.signal()
    check(street)
    for _ in range(steps):
        street.random_step()
        check(street)
    street.calm()
    check(street)
    for execution in street.executions:
        assert execution.state.final, execution
    held = street.desk.book.positions.get(SYMBOL)
    assert (held.quantity * held.side.sign if held else D(0)) == street.held
    street.loop.close()
