"""Hedge mode: two legs of a symbol side by side, each opened and closed by its own orders."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.trade.order import OrderType, Side
from services.venue.core.engine import Engine
from services.venue.core.events import AccountEvent, IncomeEvent
from services.venue.core.orders import ConditionalRequest, Kind, OrderRequest, PositionSide
from services.venue.core.rejections import Rejection
from tests.unit.venue import world

LONG, SHORT, BOTH = PositionSide.LONG, PositionSide.SHORT, PositionSide.BOTH


def order(side: Side, leg: PositionSide, quantity: str, name: str) -> OrderRequest:
    return OrderRequest(
        world.SYMBOL, side, OrderType.MARKET, Decimal(quantity), name, position_side=leg
    )


def hedged() -> Engine:
    exchange = world.engine()
    exchange.set_hedged(True)
    return exchange


def quantities(exchange: Engine) -> list[int]:
    account = exchange.state.account
    return [int(account.holding(world.SYMBOL, leg).quantity) for leg in (LONG, SHORT)]


def test_legs_open_and_close_by_themselves() -> None:
    exchange = hedged()
    exchange.place(order(Side.BUY, LONG, "2", "a"))
    exchange.place(order(Side.SELL, SHORT, "3", "b"))
    world.move(exchange, "100")
    assert quantities(exchange) == [2, -3]
    exchange.place(order(Side.SELL, LONG, "2", "c"))
    events = world.move(exchange, "101")
    assert quantities(exchange) == [0, -3]
    told = [e.holding for e in events if isinstance(e, AccountEvent)]
    assert [(h.position_side, int(h.quantity)) for h in told if h] == [(LONG, 0)]


def test_a_closing_order_never_turns_its_leg() -> None:
    exchange = hedged()
    exchange.place(order(Side.BUY, LONG, "2", "a"))
    world.move(exchange, "100")
    exchange.place(order(Side.SELL, LONG, "5", "c"))
    (trade,) = world.trades(world.move(exchange, "100"))
    assert (int(trade.quantity), trade.position_side) == (2, LONG)
    assert quantities(exchange) == [0, 0]


@pytest.mark.parametrize(
    ("hedge", "request_", "code"),
    [
        (False, order(Side.BUY, LONG, "2", "x"), -4061),
        (True, order(Side.BUY, BOTH, "2", "x"), -4061),
        (True, order(Side.SELL, LONG, "2", "x"), -2022),
        (True, order(Side.BUY, SHORT, "2", "x"), -2022),
        (
            True,
            OrderRequest(
                world.SYMBOL,
                Side.SELL,
                OrderType.MARKET,
                Decimal(2),
                "x",
                reduce_only=True,
                position_side=LONG,
            ),
            -1106,
        ),
    ],
)
def test_orders_that_do_not_fit_the_mode(hedge: bool, request_: OrderRequest, code: int) -> None:
    exchange = hedged() if hedge else world.engine()
    with pytest.raises(Rejection) as refused:
        exchange.place(request_)
    assert refused.value.code == code


def test_the_mode_changes_only_while_nothing_is_open() -> None:
    exchange = world.engine()
    codes = []
    exchange.place(world.market(Side.BUY, "2", "a"))
    for close in (False, False, True):
        if close:
            exchange.place(world.market(Side.SELL, "2", "b", reduce_only=True))
            world.move(exchange, "100")
        try:
            exchange.set_hedged(True)
        except Rejection as refused:
            codes.append(refused.code)
            world.move(exchange, "100")
    assert codes == [-4067, -4068]
    assert exchange.state.account.hedged
    with pytest.raises(Rejection) as same:
        exchange.set_hedged(True)
    assert same.value.code == -4059


def test_stops_close_their_own_leg() -> None:
    exchange = hedged()
    exchange.place(order(Side.BUY, LONG, "2", "a"))
    exchange.place(order(Side.SELL, SHORT, "2", "b"))
    world.move(exchange, "100")
    for side, leg, trigger in ((Side.SELL, LONG, "98"), (Side.BUY, SHORT, "103")):
        exchange.place_conditional(
            ConditionalRequest(
                world.SYMBOL,
                side,
                Kind.STOP_MARKET,
                Decimal(trigger),
                f"stop-{leg}",
                close_position=True,
                position_side=leg,
            )
        )
    world.move(exchange, "100")
    world.move(exchange, "97")
    assert quantities(exchange) == [0, -2]
    world.move(exchange, "104")
    assert quantities(exchange) == [0, 0]


def test_funding_is_booked_for_each_leg_once() -> None:
    exchange = hedged()
    exchange.place(order(Side.BUY, LONG, "2", "a"))
    exchange.place(order(Side.SELL, SHORT, "2", "b"))
    world.move(exchange, "100")
    before = exchange.state.account.wallet
    events = world.move(exchange, "100", funding={world.SYMBOL: Decimal("0.001")})
    paid = [e.income for e in events if isinstance(e, IncomeEvent)]
    assert [p.amount for p in paid] == [Decimal("-0.2"), Decimal("0.2")]
    assert len({p.income_id for p in paid}) == 2
    assert exchange.state.account.wallet == before


def test_both_legs_need_margin_and_are_liquidated_together() -> None:
    exchange = world.engine(balance=Decimal(1000))
    exchange.set_hedged(True)
    exchange.place(order(Side.BUY, LONG, "100", "a"))
    exchange.place(order(Side.SELL, SHORT, "20", "b"))
    world.move(exchange, "100", volume="100000")
    state = exchange.state
    price = state.account.liquidation_price(world.SYMBOL, state.symbols, state.marks)
    safe = price.quantize(Decimal("0.1")) + Decimal("0.2")
    world.move(exchange, safe, volume="100000")
    assert quantities(exchange) == [100, -20]
    world.move(exchange, safe - Decimal("0.4"), volume="100000")
    assert quantities(exchange) == [0, 0]
