"""What the venue refuses, with Binance's codes."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.trade.order import OrderType, Side
from services.venue.core.orders import OrderRequest
from services.venue.core.rejections import Rejection
from tests.unit.venue import world

BUY, SELL = Side.BUY, Side.SELL


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (world.market(BUY, "0", "a"), -4003),
        (world.market(BUY, "2.0001", "a"), -1111),
        (world.market(BUY, "999999", "a"), -1013),
        (world.market(BUY, "0.5", "a"), -4164),
        (world.market(BUY, "2", "x" * 37), -4015),
        (world.market(BUY, "2", ""), -1102),
        (world.limit(BUY, "2", "99.05", "a"), -1111),
        (world.limit(BUY, "2", "-1", "a"), -1013),
        (world.market(SELL, "2", "a", reduce_only=True), -2022),
        (world.limit(BUY, "2500", "100", "a"), -2019),
        (OrderRequest("NOPEUSDT", BUY, OrderType.MARKET, Decimal(1), "a"), -1121),
        (OrderRequest(world.SYMBOL, BUY, OrderType.STOP_MARKET, Decimal(1), "a"), -4120),
    ],
)
def test_plain_orders_are_refused(request_: OrderRequest, code: int) -> None:
    exchange = world.engine()
    with pytest.raises(Rejection) as refused:
        exchange.place(request_)
    assert refused.value.code == code
    assert exchange.state.book.orders == {}


@pytest.mark.parametrize(("side", "trigger"), [(SELL, "100"), (SELL, "101"), (BUY, "99")])
def test_stop_that_would_fire_at_once_is_refused(side: Side, trigger: str) -> None:
    exchange = world.engine()
    with pytest.raises(Rejection, match="-2021"):
        exchange.place_conditional(world.stop(side, "2", trigger, "s", reduce_only=False))


def test_small_reduce_only_order_is_taken() -> None:
    """Incident class: what is left of a position below the least notional must be closable."""
    exchange = world.engine()
    exchange.place(world.market(BUY, "1", "a"))
    world.move(exchange, "101")
    exchange.place(world.market(SELL, "0.001", "x", reduce_only=True))
    assert len(world.trades(world.move(exchange, "101"))) == 1


def test_unknown_ids_are_refused() -> None:
    exchange = world.engine()
    with pytest.raises(Rejection, match="-2011"):
        exchange.cancel(world.SYMBOL, client_id="nothing")
    with pytest.raises(Rejection, match="-2011"):
        exchange.cancel_conditional(client_id="nothing")


def test_leverage_has_bounds_and_limits_the_position() -> None:
    exchange = world.engine(balance=Decimal(10_000_000))
    with pytest.raises(Rejection, match="-4028"):
        exchange.set_leverage(world.SYMBOL, 500)
    exchange.set_leverage(world.SYMBOL, 75)
    with pytest.raises(Rejection, match="-2027"):
        exchange.place(world.limit(BUY, "9999", "100", "a"))


def test_cross_margin_cannot_be_left() -> None:
    exchange = world.engine()
    with pytest.raises(Rejection, match="-4046"):
        exchange.set_margin_type(world.SYMBOL, "CROSSED")
    with pytest.raises(Rejection, match="-4168"):
        exchange.set_margin_type(world.SYMBOL, "ISOLATED")
