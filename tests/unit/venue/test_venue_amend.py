"""Amending a resting limit order: ids and fills stay, the place in the queue may go."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.trade.order import Side, TimeInForce
from services.venue.core.disturbances import Disturbance
from services.venue.core.engine import Engine
from services.venue.core.faults import FaultKind
from services.venue.core.orders import AmendRequest
from services.venue.core.rejections import Rejection
from services.venue.core.rules import VenueRules
from tests.unit.venue import world


def amend(
    exchange: Engine, name: str, quantity: str, price: str, side: Side = Side.BUY
) -> AmendRequest:
    request = AmendRequest(world.SYMBOL, side, Decimal(quantity), Decimal(price), client_id=name)
    exchange.amend(request)
    return request


def resting(kind: TimeInForce = TimeInForce.GTC, quantity: str = "2") -> Engine:
    exchange = world.engine()
    exchange.place(world.limit(Side.BUY, quantity, "95", "rest", kind=kind))
    world.move(exchange, "100")
    return exchange


def test_ids_stay_and_the_new_price_and_quantity_hold_from_the_next_step() -> None:
    exchange = resting()
    (before,) = exchange.state.book.orders.values()
    amend(exchange, "rest", "3", "97")
    assert [o.price for o in exchange.state.book.orders.values()] == [Decimal(95)]
    events = world.move(exchange, "100")
    assert world.executions(events, "rest") == ["AMENDMENT"]
    (after,) = exchange.state.book.orders.values()
    assert (after.order_id, after.client_id) == (before.order_id, "rest")
    assert (after.price, after.quantity) == (Decimal(97), Decimal(3))
    assert [t.price for t in world.trades(world.move(exchange, "96"))] == [Decimal(97)]


def test_an_amended_order_that_reaches_the_market_takes() -> None:
    exchange = resting()
    amend(exchange, "rest", "2", "101")
    (trade,) = world.trades(world.move(exchange, "100"))
    assert not trade.maker and Decimal(100) < trade.price <= Decimal(101)


def test_only_shrinking_keeps_the_place() -> None:
    exchange = world.engine(rules=VenueRules(least_liquidity=Decimal(0)))
    for name in ("a", "b"):
        exchange.place(world.limit(Side.BUY, "40", "95", name))
    world.move(exchange, "100")
    amend(exchange, "a", "39", "95")
    world.move(exchange, "100")
    assert [o.client_id for o in exchange.state.book.of_symbol(world.SYMBOL)] == ["a", "b"]
    amend(exchange, "a", "41", "95")
    world.move(exchange, "100")
    assert [o.client_id for o in exchange.state.book.of_symbol(world.SYMBOL)] == ["b", "a"]


def test_a_quantity_that_is_filled_already_ends_the_order_and_keeps_its_fills() -> None:
    exchange = resting(quantity="4")
    exchange.disturb(Disturbance("p", FaultKind.PARTIAL, Decimal("0.5")))
    (trade,) = world.trades(world.move(exchange, "95"))
    assert trade.quantity == 2
    world.move(exchange, "99", gap=True)
    amend(exchange, "rest", "2.001", "94.9")
    amend(exchange, "rest", "2", "95.5")
    events = world.move(exchange, "99")
    assert world.executions(events, "rest") == ["CANCELED"]
    assert exchange.state.account.holding(world.SYMBOL).quantity == 2


def test_post_only_that_would_take_is_cancelled() -> None:
    exchange = resting(kind=TimeInForce.GTX)
    amend(exchange, "rest", "2", "100")
    assert world.executions(world.move(exchange, "100"), "rest") == ["CANCELED"]


def test_a_cancel_of_the_same_step_wins() -> None:
    exchange = resting()
    exchange.cancel(world.SYMBOL, client_id="rest")
    amend(exchange, "rest", "2", "101")
    assert world.executions(world.move(exchange, "100"), "rest") == ["CANCELED"]


@pytest.mark.parametrize(
    ("name", "quantity", "price", "side", "code"),
    [
        ("nobody", "2", "96", Side.BUY, -2013),
        ("rest", "2", "95", Side.BUY, -5027),
        ("rest", "2", "96", Side.SELL, -1117),
        ("rest", "2", "95.05", Side.BUY, -1111),
        ("rest", "0", "96", Side.BUY, -4003),
        ("rest", "0.01", "96", Side.BUY, -4164),
        ("rest", "2500", "96", Side.BUY, -2019),
        ("market", "1", "96", Side.BUY, -5025),
    ],
)
def test_refused_amendments_leave_the_order(
    name: str, quantity: str, price: str, side: Side, code: int
) -> None:
    exchange = resting()
    exchange.place(world.market(Side.BUY, "2", "market"))
    before = dict(exchange.state.book.orders)
    with pytest.raises(Rejection) as refused:
        amend(exchange, name, quantity, price, side)
    assert refused.value.code == code
    assert exchange.state.book.orders == before
