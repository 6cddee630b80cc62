"""A counted dict is a dict, and every change of it is counted; values are what `replace` gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.exec_risk.core.counted import Counted
from services.exec_risk.core.orders.order_book import Orders
from services.trade.order import Order, OrderState
from services.trade.values import with_values
from tests.unit.exec_risk.test_exec_order_book import ORDER

ACTS = st.sampled_from(["put", "take", "update", "default", "clear"])


@given(st.lists(st.tuples(ACTS, st.sampled_from("abc"), st.integers(0, 3))))
def test_it_holds_what_a_dict_holds_and_counts_each_change(
    acts: list[tuple[str, str, int]],
) -> None:
    counted, plain = Counted[str, int](), dict[str, int]()
    for act, key, value in acts:
        before, seen = dict(plain), counted.revision
        if act == "put":
            counted[key] = plain[key] = value
        elif act == "take":
            assert counted.pop(key, None) == plain.pop(key, None)
        elif act == "update":
            counted.update({key: value})
            plain.update({key: value})
        elif act == "default":
            assert counted.setdefault(key, value) == plain.setdefault(key, value)
        else:
            counted.clear()
            plain.clear()
        assert counted == plain and list(counted) == list(plain)
        assert counted.revision > seen or plain == before


def test_what_would_go_uncounted_is_refused() -> None:
    counted = Counted({"a": 1})
    with pytest.raises(TypeError):
        counted |= {"b": 2}
    with pytest.raises(TypeError):
        counted.popitem()


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xy"), st.booleans())))
def test_the_orders_of_a_position_are_those_that_a_look_at_all_would_find(
    writes: list[tuple[str, str, bool]],
) -> None:
    orders = Orders()
    for name, position, gone in writes:
        if gone:
            orders.pop(name, None)
        else:
            orders[name] = replace(ORDER, client_order_id=name, position_id=position)
    for position in "xy":
        found = {o.client_order_id for o in orders.of(position)}
        assert found == {n for n, o in orders.items() if o.position_id == position}
    assert list(orders.entries) == [o for o in orders.live if not o.reduce_only]


@given(st.sampled_from(OrderState), st.integers(0, 9), st.text(max_size=3))
def test_other_values_are_what_replace_gives(state: OrderState, version: int, reason: str) -> None:
    expected: Order = replace(ORDER, state=state, version=version, reason=reason)
    assert with_values(ORDER, state=state, version=version, reason=reason) == expected
    with pytest.raises(KeyError):
        with_values(ORDER, nothing=1)
