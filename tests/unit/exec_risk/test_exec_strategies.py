"""What each strategy sends, at which price and in which parts."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core.executions.strategies.sliced import schedule
from services.trade.execution import (
    ExecutionState,
    ExecutionStrategy,
)
from services.trade.order import OrderPurpose, OrderState, OrderType, Side, TimeInForce
from tests.unit.exec_risk.account_desk import Desk, filters_of, report, signal_of
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


def test_the_default_is_one_market_order_under_the_signals_own_id() -> None:
    desk = Desk()
    order = enter_by_signal(desk)
    assert (order.type, order.time_in_force, order.price) == (OrderType.MARKET, None, None)
    desk.accept(order)
    desk.fill(order)
    found = the_execution(desk)
    assert (found.state, found.orders, found.filled_quantity) == (
        ExecutionState.DONE,
        1,
        order.quantity,
    )
    told = [e.execution.version for e in desk.effects if isinstance(e, fx.ExecutionChanged)]
    assert told == [1, 2]


def test_what_a_market_order_left_over_goes_on_as_the_next() -> None:
    """The remainder is sent, not the whole again, under the next number."""
    desk = Desk()
    first = enter_by_signal(desk)
    desk.accept(first)
    desk.fill(first, D(1))
    desk.tell(replace(report(first, OrderState.EXPIRED), filled_quantity=D(1)))
    second = entries(desk)[-1]
    assert second.quantity == first.quantity - 1
    assert second.client_order_id != first.client_order_id


@pytest.mark.parametrize("side", list(Side))
def test_a_limit_order_follows_the_market_with_its_remainder(side: Side) -> None:
    """Withdrawn, its end waited for, then the remainder at the new price, within the cap."""
    desk = desk_of(LIMIT)
    first = enter_by_signal(desk, side)
    assert (first.type, first.time_in_force, first.price) == (
        OrderType.LIMIT,
        TimeInForce.GTC,
        D(100),
    )
    desk.accept(first)
    desk.fill(first, D(2))
    away = "100.20" if side is Side.BUY else "99.80"
    price(desk, away, 5)
    assert not cancels(desk), "too soon"
    price(desk, away, 15)
    assert cancels(desk) == [first.client_order_id]
    assert len(entries(desk)) == 1, "sent before the end of the first was known"
    desk.tell(replace(report(first, OrderState.CANCELED), filled_quantity=D(2)))
    second = entries(desk)[-1]
    assert (second.price, second.quantity) == (D(away), first.quantity - 2)


def test_a_limit_order_rests_on_its_side_of_the_book() -> None:
    desk = desk_of(LIMIT)
    price(desk, "100", 0, bid="99.95", ask="100.05")
    assert enter_by_signal(desk).price == D("99.95")


def test_a_price_beyond_the_cap_stops_the_entry_and_keeps_what_filled() -> None:
    """Slippage cap: the rest is cancelled with its reason, the position stays protected."""
    desk = desk_of(TWAP)
    first = enter_by_signal(desk)
    desk.accept(first)
    desk.fill(first)
    price(desk, "100.60", 31)
    found = the_execution(desk)
    assert found.state is ExecutionState.CANCELED and "cap 0.005" in found.reason
    assert len(entries(desk)) == 1
    assert desk.book.positions[BTC].quantity == first.quantity
    assert desk.book.positions[BTC].exit_reason is None


def test_nothing_is_sent_after_the_signal_has_expired() -> None:
    """Incident 61: market time may jump over the end; the rest of an old signal is not taken."""
    desk = desk_of(LIMIT)
    first = enter_by_signal(desk)
    desk.accept(first)
    desk.fill(first, D(1))
    price(desk, "100.10", 301)
    assert cancels(desk) == [first.client_order_id]
    desk.tell(replace(report(first, OrderState.CANCELED), filled_quantity=D(1)))
    assert len(entries(desk)) == 1
    assert "expired" in the_execution(desk).reason


def test_time_over_takes_the_rest_once_within_the_cap() -> None:
    desk = Desk()
    first = submitted(desk, LIMIT)
    desk.accept(first)
    price(desk, "100.10", 300)
    desk.tell(report(first, OrderState.CANCELED))
    last = entries(desk)[-1]
    assert (last.time_in_force, last.price) == (TimeInForce.IOC, D("100.50"))
    desk.accept(last)
    desk.tell(report(last, OrderState.EXPIRED))
    found = the_execution(desk)
    assert (found.state, found.reason) == (ExecutionState.CANCELED, "its time is over")
    assert len(entries(desk)) == 2


@pytest.mark.parametrize("rests", [TimeInForce.IOC, TimeInForce.FOK])
def test_at_once_is_one_order_up_to_the_worst_price(rests: TimeInForce) -> None:
    desk = Desk()
    order = submitted(desk, LIMIT, rests)
    assert (order.time_in_force, order.price) == (rests, D("100.50"))
    desk.accept(order)
    desk.fill(order, D("0.4"))
    desk.tell(replace(report(order, OrderState.EXPIRED), filled_quantity=D("0.4")))
    found = the_execution(desk)
    assert (found.state, found.filled_quantity) == (ExecutionState.CANCELED, D("0.4"))
    assert len(entries(desk)) == 1


@pytest.mark.parametrize("late", [False, True])
def test_post_only_is_priced_a_tick_further_each_time_and_gives_up(late: bool) -> None:
    """-5022, at once or when it takes effect: bounded, never a taker."""
    desk = Desk()
    price(desk, "100", 0, bid="99.99", ask="100.01")
    order = submitted(desk, LIMIT, TimeInForce.GTX)
    prices = []
    for _ in range(20):
        if the_execution(desk).state.final:
            break
        order = entries(desk)[-1]
        prices.append(order.price)
        if late:
            desk.accept(order)
            desk.tell(report(order, OrderState.EXPIRED))
        else:
            desk.refuse(order, "-5022")
    assert prices == [D("99.99") - D("0.01") * i for i in range(5)]
    assert the_execution(desk).state is ExecutionState.CANCELED


def test_an_iceberg_shows_one_part_and_the_next_when_it_is_filled() -> None:
    desk = Desk()
    order = submitted(desk, ICEBERG)
    shown = [order.quantity]
    while not the_execution(desk).state.final:
        desk.accept(order)
        desk.fill(order)
        if entries(desk)[-1] is not order:
            order = entries(desk)[-1]
            shown.append(order.quantity)
    assert shown == [D("0.1")] * 10
    assert the_execution(desk).slices == 10


def test_a_part_that_filled_short_is_made_up_by_the_next() -> None:
    """TWAP: what is due by now less what is filled, so nothing is lost or sent twice."""
    desk = Desk()
    order = submitted(desk, TWAP)
    assert order.quantity == D("0.1")
    desk.accept(order)
    desk.fill(order, D("0.03"))
    desk.tell(replace(report(order, OrderState.EXPIRED), filled_quantity=D("0.03")))
    assert len(entries(desk)) == 1
    price(desk, "100", 30)
    assert entries(desk)[-1].quantity == D("0.17")


@given(
    steps=st.integers(1, 100_000),
    count=st.integers(1, 50),
    weights=st.lists(st.integers(0, 1000), min_size=50, max_size=50),
    least=st.integers(0, 5000),
)
def test_parts_sum_up_exactly_and_none_is_too_small(
    steps: int, count: int, weights: list[int], least: int
) -> None:
    """Incidents 38 and 41: multiples of the step, none below the exchange's least."""
    filters = filters_of(BTC)
    quantity, small = steps * filters.step_size, least * filters.step_size
    times = list(range(count))
    parts = schedule(quantity, times, [D(w) for w in weights[:count]], filters, small)
    assert sum((p.quantity for p in parts), D(0)) == quantity
    assert all(p.quantity % filters.step_size == 0 and p.quantity > 0 for p in parts)
    assert all(p.quantity >= small for p in parts) or len(parts) == 1
    assert [p.time for p in parts] == sorted({p.time for p in parts})


@given(st.decimals("0.5", "900", places=2), st.sampled_from(list(Side)))
def test_prices_are_on_the_tick_and_within_the_cap(near: Decimal, side: Side) -> None:
    """Incident 38: by the symbol's own tick, and never worse than the cap allows."""
    desk = desk_of(LIMIT)
    desk.book.filters[BTC] = replace(filters_of(BTC), tick_size=D("0.05"))
    desk.round(signal_of(BTC, side, desk.time), close=near)
    assume(bool(desk.placed(ENTRY)))
    order = desk.placed(ENTRY)[0]
    assert order.price is not None and order.price % D("0.05") == 0
    assert (order.price - near) * side.sign <= near * D("0.005")
