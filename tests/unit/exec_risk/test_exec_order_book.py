"""Orders by id: those that live are the ones that a look at all would find."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.exec_risk.core.orders.order_book import Orders
from services.trade.order import Order, OrderPurpose, OrderState, OrderType, Side

ORDER = Order(
    client_order_id="",
    account="main",
    symbol="BTCUSDT",
    side=Side.BUY,
    type=OrderType.MARKET,
    purpose=OrderPurpose.ENTRY,
    quantity=Decimal(1),
    decided_time=0,
)
WRITES = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from([*OrderState, None])))


@given(WRITES)
def test_live_orders_are_those_that_are_not_final(
    writes: list[tuple[str, OrderState | None]],
) -> None:
    orders, seen = Orders(), dict[str, Order]()
    for name, state in writes:
        if state is None:
            assert orders.pop(name, None) == seen.pop(name, None)
        else:
            orders[name] = seen[name] = replace(ORDER, client_order_id=name, state=state)
    assert orders == seen
    by_id = {order.client_order_id: order for order in orders.live}
    assert by_id == {name: order for name, order in seen.items() if not order.state.final}


def test_live_orders_come_in_the_order_in_which_they_were_made() -> None:
    orders = Orders()
    for name in "cab":
        orders[name] = replace(ORDER, client_order_id=name)
    orders["c"] = replace(ORDER, client_order_id="c", state=OrderState.ACCEPTED)
    assert [order.client_order_id for order in orders.live] == ["c", "a", "b"]
