"""Conditional orders that become limit orders, trailing stops, and the countdown."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trade.order import Side, TimeInForce
from services.venue.core.engine import Engine
from services.venue.core.orders import ConditionalRequest, Kind
from services.venue.core.rejections import Rejection
from tests.unit.venue import world


def ask(
    kind: Kind,
    side: Side,
    name: str,
    *,
    trigger: str = "0",
    price: str | None = None,
    rate: str | None = None,
    activation: str | None = None,
    quantity: str = "2",
    reduce_only: bool = True,
    force: TimeInForce = TimeInForce.GTC,
) -> ConditionalRequest:
    return ConditionalRequest(
        world.SYMBOL,
        side,
        kind,
        Decimal(trigger),
        name,
        quantity=Decimal(quantity),
        reduce_only=reduce_only,
        price=Decimal(price) if price else None,
        time_in_force=force,
        callback_rate=Decimal(rate) if rate else None,
        activation_price=Decimal(activation) if activation else None,
    )


def long(quantity: str = "2") -> Engine:
    exchange = world.engine()
    exchange.place(world.market(Side.BUY, quantity, "entry"))
    world.move(exchange, "100")
    return exchange


def test_a_stop_limit_rests_at_its_price_when_the_market_jumps_over_it() -> None:
    exchange = long()
    exchange.place_conditional(ask(Kind.STOP, Side.SELL, "s", trigger="98", price="97.5"))
    world.move(exchange, "100")
    assert world.trades(world.move(exchange, "90", gap=True)) == []
    (child,) = exchange.state.book.orders.values()
    assert (child.client_id, child.price, child.original_type) == ("s", Decimal("97.5"), Kind.STOP)
    (trade,) = world.trades(world.move(exchange, "99"))
    assert (trade.price, trade.maker) == (Decimal("97.5"), True)
    assert exchange.state.account.holding(world.SYMBOL).quantity == 0
    assert exchange.state.book.conditionals == {}


def test_a_take_profit_limit_is_filled_no_worse_than_its_price() -> None:
    exchange = long()
    exchange.place_conditional(ask(Kind.TAKE_PROFIT, Side.SELL, "t", trigger="105", price="104.9"))
    world.move(exchange, "100")
    (trade,) = world.trades(world.move(exchange, "106"))
    assert Decimal("104.9") <= trade.price < 105


def test_a_trailing_stop_follows_the_best_price_and_fires_on_the_way_back() -> None:
    exchange = long()
    exchange.place_conditional(ask(Kind.TRAILING_STOP_MARKET, Side.SELL, "t", rate="2"))
    world.move(exchange, "100")
    (waiting,) = exchange.state.book.conditionals.values()
    assert waiting.trigger_price == 98
    for price, trigger in (("105", "102.9"), ("103", "102.9"), ("110", "107.8"), ("109", "107.8")):
        assert world.trades(world.move(exchange, price)) == []
        (waiting,) = exchange.state.book.conditionals.values()
        assert waiting.trigger_price == Decimal(trigger)
    (trade,) = world.trades(world.move(exchange, "107"))
    assert Decimal("107.7") <= trade.price < Decimal("107.8")


def test_a_trailing_stop_waits_for_its_activation_price() -> None:
    exchange = long()
    request = ask(Kind.TRAILING_STOP_MARKET, Side.SELL, "t", rate="1", activation="104")
    exchange.place_conditional(request)
    for price in ("100", "90", "103"):
        assert world.trades(world.move(exchange, price)) == []
    world.move(exchange, "106")
    (trade,) = world.trades(world.move(exchange, "100"))
    assert Decimal("104.8") <= trade.price < Decimal("104.94")


@given(
    st.sampled_from(list(Side)),
    st.integers(1, 100),
    st.lists(st.tuples(st.integers(900, 1100), st.booleans()), min_size=1, max_size=12),
)
def test_a_trailing_stop_only_ever_tightens(
    side: Side, rate: int, moves: list[tuple[int, bool]]
) -> None:
    exchange = world.engine()
    request = ask(
        Kind.TRAILING_STOP_MARKET, side, "t", rate=str(Decimal(rate) / 10), reduce_only=False
    )
    exchange.place_conditional(request)
    last: Decimal | None = None
    for tenths, gap in moves:
        events = world.move(exchange, Decimal(tenths) / 10, gap=gap)
        waiting = next(iter(exchange.state.book.conditionals.values()), None)
        if waiting is None or world.trades(events):
            return
        if last is not None:
            assert (waiting.trigger_price - last) * side.sign <= 0
        last = waiting.trigger_price


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (ask(Kind.TRAILING_STOP_MARKET, Side.SELL, "x"), -1102),
        (ask(Kind.TRAILING_STOP_MARKET, Side.SELL, "x", rate="10.1"), -2007),
        (ask(Kind.TRAILING_STOP_MARKET, Side.SELL, "x", rate="0.05"), -2007),
        (ask(Kind.TRAILING_STOP_MARKET, Side.SELL, "x", rate="0.15"), -2007),
        (ask(Kind.TRAILING_STOP_MARKET, Side.SELL, "x", rate="1", activation="99"), -2021),
        (ask(Kind.STOP, Side.SELL, "x", trigger="98"), -1102),
        (ask(Kind.STOP, Side.SELL, "x", trigger="98", price="97.55"), -1111),
        (ask(Kind.STOP, Side.SELL, "x", trigger="101", price="97"), -2021),
        (ask(Kind.LIMIT, Side.SELL, "x", trigger="98"), -1116),
    ],
)
def test_refused_conditionals(request_: ConditionalRequest, code: int) -> None:
    exchange = long()
    with pytest.raises(Rejection) as refused:
        exchange.place_conditional(request_)
    assert refused.value.code == code
    assert exchange.state.book.conditionals == {}


def test_the_countdown_cancels_plain_orders_once_unless_told_again() -> None:
    exchange = long()
    exchange.place(world.limit(Side.BUY, "2", "90", "rest"))
    exchange.place_conditional(world.stop(Side.SELL, None, "90", "stop"))
    exchange.set_countdown(world.SYMBOL, 2 * world.THIRD)
    world.move(exchange, "100")
    exchange.set_countdown(world.SYMBOL, 2 * world.THIRD)
    assert world.executions(world.move(exchange, "100"), "rest") == []
    assert world.executions(world.move(exchange, "100"), "rest") == ["CANCELED"]
    assert len(exchange.state.book.conditionals) == 1
    exchange.place(world.limit(Side.BUY, "2", "90", "again"))
    exchange.set_countdown(world.SYMBOL, world.THIRD)
    exchange.set_countdown(world.SYMBOL, 0)
    world.move(exchange, "100")
    assert world.executions(world.move(exchange, "100"), "again") == []
