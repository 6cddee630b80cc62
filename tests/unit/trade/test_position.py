"""Positions: what fills do to them, for both sides and any order of sizes."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trade.order import Fill, Side
from services.trade.position import Position, PositionSide

prices = st.decimals("0.0001", "100000", places=4)
quantities = st.decimals("0.001", "1000", places=3)
sides = st.sampled_from(PositionSide)


def fill(number: int, side: Side, price: Decimal, quantity: Decimal) -> Fill:
    return Fill(
        trade_id=str(number),
        account="main",
        symbol="BTCUSDT",
        client_order_id="c",
        side=side,
        price=price,
        quantity=quantity,
        commission=Decimal("0.01"),
        realized_pnl=Decimal(0),
        maker=False,
        time=1,
    )


def position(side: PositionSide) -> Position:
    return Position("p", "main", "BTCUSDT", side, opened_time=1, leverage=5)


@given(sides, st.lists(st.tuples(prices, quantities), min_size=1, max_size=6), st.data())
def test_a_closed_position_earned_exactly_the_cash_difference(
    side: PositionSide, entries: list[tuple[Decimal, Decimal]], data: st.DataObject
) -> None:
    """Net profit is the signed cash of all fills less commission, to the last digit."""
    held, cash, number = position(side), Decimal(0), 0
    for price, quantity in entries:
        number += 1
        held = held.with_fill(fill(number, side.entry_side, price, quantity))
        cash -= price * quantity * side.sign
    while held.quantity:
        number += 1
        price = data.draw(prices)
        part = min(held.quantity, data.draw(quantities))
        held = held.with_fill(fill(number, side.exit_side, price, part))
        cash += price * part * side.sign
    assert held.realized_pnl == cash
    assert held.net_pnl == cash - Decimal("0.01") * number


@given(sides, prices, prices, quantities)
def test_unrealised_profit_has_the_sign_of_the_move(
    side: PositionSide, entry: Decimal, mark: Decimal, quantity: Decimal
) -> None:
    """Incident 81: a SHORT never counts as a LONG."""
    held = position(side).with_fill(fill(1, side.entry_side, entry, quantity))
    profit = held.unrealized_pnl(mark)
    assert (profit > 0) == ((mark - entry) * side.sign > 0)
    assert profit == pytest.approx((mark - entry) * quantity * side.sign, rel=Decimal("1e-20"))


@given(sides, prices, quantities)
def test_an_exit_larger_than_the_position_is_refused(
    side: PositionSide, price: Decimal, quantity: Decimal
) -> None:
    held = position(side).with_fill(fill(1, side.entry_side, price, quantity))
    with pytest.raises(ValueError, match="exceeds the held"):
        held.with_fill(fill(2, side.exit_side, price, quantity + Decimal("0.001")))
