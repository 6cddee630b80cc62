"""Orders against the path: prices, order of fills, life of each kind of order."""

from __future__ import annotations

from decimal import Decimal

import pytest

from services.trade.order import OrderType, Side, TimeInForce
from services.venue.core.events import ConditionalEvent
from services.venue.core.orders import Trade
from services.venue.core.rejections import Rejection
from services.venue.core.rules import VenueRules
from tests.unit.venue import world

BUY, SELL = Side.BUY, Side.SELL


def test_market_order_is_new_now_and_fills_at_the_next_point() -> None:
    exchange = world.engine()
    order = exchange.place(world.market(BUY, "2", "a"))
    assert order.status == "NEW"
    assert order.executed == 0
    events = world.move(exchange, "101")
    (trade,) = world.trades(events)
    assert trade.price > 101 and trade.price < Decimal("101.3")
    assert not trade.maker
    assert world.executions(events, "a") == ["NEW", "TRADE"]
    assert exchange.state.account.holding(world.SYMBOL).quantity == 2


def test_resting_limit_fills_at_its_own_price_inside_a_candle() -> None:
    exchange = world.engine()
    exchange.place(world.limit(BUY, "2", "99", "a"))
    assert world.executions(world.move(exchange, "100"), "a") == ["NEW"]
    (trade,) = world.trades(world.move(exchange, "97"))
    assert trade.price == 99
    assert trade.maker


def test_resting_limit_fills_at_the_landing_price_over_a_gap() -> None:
    exchange = world.engine()
    exchange.place(world.limit(BUY, "2", "99", "a"))
    world.move(exchange, "100")
    (trade,) = world.trades(world.move(exchange, "97", gap=True))
    assert trade.price == 97


def test_limit_that_crosses_takes_but_never_beyond_its_price() -> None:
    exchange = world.engine()
    exchange.place(world.limit(BUY, "2", "100", "a"))
    (trade,) = world.trades(world.move(exchange, "100"))
    assert trade.price == 100
    assert not trade.maker


def test_stop_inside_a_candle_fills_at_its_trigger_with_slippage() -> None:
    exchange = world.engine()
    exchange.place(world.market(BUY, "2", "a"))
    world.move(exchange, "100")
    exchange.place_conditional(world.stop(SELL, "2", "98", "s"))
    world.move(exchange, "99.5")
    (trade,) = world.trades(world.move(exchange, "90"))
    assert Decimal("97.5") < trade.price < 98
    assert trade.client_id == "s"


def test_stop_over_a_gap_fills_where_the_price_lands() -> None:
    exchange = world.engine()
    exchange.place(world.market(BUY, "2", "a"))
    world.move(exchange, "100")
    exchange.place_conditional(world.stop(SELL, "2", "98", "s"))
    world.move(exchange, "99.5")
    (trade,) = world.trades(world.move(exchange, "90", gap=True))
    assert Decimal("89.5") < trade.price < 90


def test_what_comes_first_on_the_way_fills_first() -> None:
    """A long with stop and target: the way of the price decides, never the order of arrival."""
    for first, second in (("s", "t"), ("t", "s")):
        exchange = world.engine()
        exchange.place(world.market(BUY, "2", "a"))
        world.move(exchange, "100")
        requests = {
            "s": world.stop(SELL, "2", "98", "s"),
            "t": world.stop(SELL, "2", "103", "t", kind=OrderType.TAKE_PROFIT_MARKET),
        }
        exchange.place_conditional(requests[first])
        exchange.place_conditional(requests[second])
        world.move(exchange, "100")
        (trade,) = world.trades(world.move(exchange, "104"))
        assert trade.client_id == "t"
        events = world.move(exchange, "97")
        assert world.trades(events) == []
        ends = [e.order.status for e in events if isinstance(e, ConditionalEvent)]
        assert ends == ["TRIGGERING", "REJECTED"]
        assert exchange.state.account.holding(world.SYMBOL).quantity == 0


def test_life_of_a_conditional_order_is_told_in_binances_sequence() -> None:
    exchange = world.engine()
    exchange.place(world.market(BUY, "2", "a"))
    world.move(exchange, "100")
    exchange.place_conditional(world.stop(SELL, None, "98", "s"))
    world.move(exchange, "100")
    events = world.move(exchange, "97")
    told = [
        e.order.status.value if isinstance(e, ConditionalEvent) else type(e).__name__
        for e in events
        if type(e).__name__ != "IncomeEvent"
    ]
    assert told == [
        "TRIGGERING",
        "OrderEvent",
        "TRIGGERED",
        "OrderEvent",
        "AccountEvent",
        "FINISHED",
    ]
    last = [e.order for e in events if isinstance(e, ConditionalEvent)][-1]
    assert last.executed == 2 and last.order_id


def test_large_order_fills_over_several_points() -> None:
    exchange = world.engine(balance=Decimal(1_000_000))
    exchange.place(world.market(BUY, "400", "a"))
    filled: list[Trade] = []
    while not filled or sum(t.quantity for t in filled) < 400:
        filled += world.trades(world.move(exchange, "100", volume="500"))
        assert exchange.state.number < 50
    assert len(filled) > 2
    assert len({t.trade_id for t in filled}) == len(filled)
    assert exchange.state.book.orders == {}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (TimeInForce.IOC, ["NEW", "TRADE", "EXPIRED"]),
        (TimeInForce.FOK, ["NEW", "EXPIRED"]),
        (TimeInForce.GTC, ["NEW", "TRADE"]),
    ],
)
def test_time_in_force_decides_what_happens_to_the_rest(
    kind: TimeInForce, expected: list[str]
) -> None:
    exchange = world.engine(balance=Decimal(1_000_000))
    exchange.place(world.limit(BUY, "400", "101", "a", kind=kind))
    assert world.executions(world.move(exchange, "100", volume="500"), "a") == expected


def test_post_only_is_refused_when_it_crosses_and_expires_when_it_would_later() -> None:
    exchange = world.engine()
    with pytest.raises(Rejection, match="-5022"):
        exchange.place(world.limit(BUY, "2", "101", "a", kind=TimeInForce.GTX))
    exchange.place(world.limit(BUY, "2", "99", "b", kind=TimeInForce.GTX))
    assert world.executions(world.move(exchange, "98"), "b") == ["NEW", "EXPIRED"]


def test_cancel_takes_effect_at_the_next_point_after_fills_on_the_way() -> None:
    exchange = world.engine()
    exchange.place(world.limit(BUY, "2", "99", "a"))
    exchange.place(world.limit(BUY, "2", "95", "b"))
    world.move(exchange, "100")
    for client_id in ("a", "b"):
        assert exchange.cancel(world.SYMBOL, client_id=client_id).status == "NEW"
    events = world.move(exchange, "98")
    assert world.executions(events, "a") == ["TRADE"]
    assert world.executions(events, "b") == ["CANCELED"]


def test_cancel_comes_before_a_gap() -> None:
    exchange = world.engine()
    exchange.place(world.limit(BUY, "2", "99", "a"))
    world.move(exchange, "100")
    exchange.cancel(world.SYMBOL, client_id="a")
    assert world.executions(world.move(exchange, "98", gap=True), "a") == ["CANCELED"]


def test_latency_delays_the_effect_by_market_time() -> None:
    exchange = world.engine(rules=VenueRules(order_latency_ms=world.THIRD + 1))
    exchange.place(world.market(BUY, "2", "a"))
    assert world.trades(world.move(exchange, "101")) == []
    assert len(world.trades(world.move(exchange, "102"))) == 1


def test_reduce_only_is_shrunk_to_the_position_and_never_flips() -> None:
    exchange = world.engine()
    exchange.place(world.market(BUY, "2", "a"))
    world.move(exchange, "100")
    exchange.place(world.market(SELL, "5", "x", reduce_only=True))
    exchange.place(world.market(SELL, "5", "y", reduce_only=True))
    events = world.move(exchange, "100")
    assert world.executions(events, "x") == ["NEW", "TRADE"]
    assert world.executions(events, "y") == ["NEW", "EXPIRED"]
    assert exchange.state.account.holding(world.SYMBOL).quantity == 0


def test_resting_reduce_only_order_expires_with_its_position() -> None:
    exchange = world.engine()
    exchange.place(world.market(BUY, "2", "a"))
    world.move(exchange, "100")
    exchange.place(world.limit(SELL, "2", "110", "r", reduce_only=True))
    world.move(exchange, "100")
    exchange.place(world.market(SELL, "2", "x", reduce_only=True))
    assert world.executions(world.move(exchange, "100"), "r") == ["EXPIRED"]


def test_client_id_may_be_used_again_after_its_order_ended() -> None:
    exchange = world.engine()
    first = exchange.place(world.market(BUY, "2", "a"))
    with pytest.raises(Rejection, match="-4116"):
        exchange.place(world.market(BUY, "2", "a"))
    world.move(exchange, "100")
    second = exchange.place(world.market(BUY, "2", "a"))
    assert first.order_id != second.order_id


def test_liquidation_closes_everything_and_leaves_no_debt() -> None:
    exchange = world.engine(balance=Decimal(1_000))
    exchange.state.account.leverages[world.SYMBOL] = 20
    exchange.place(world.market(BUY, "150", "a"))
    world.move(exchange, "100", volume="100000")
    exchange.place(world.limit(BUY, "2", "80", "rest"))
    world.move(exchange, "100")
    events = world.move(exchange, "92")
    assert world.executions(events, "rest") == ["CANCELED"]
    (trade,) = world.trades(events)
    assert trade.client_id.startswith("autoclose-")
    account = exchange.state.account
    assert account.open_holdings() == []
    assert account.wallet == 0
    assert world.income(events, "INSURANCE_CLEAR") > 0


def test_funding_is_paid_by_longs_when_the_rate_is_positive() -> None:
    exchange = world.engine()
    exchange.place(world.market(BUY, "2", "a"))
    world.move(exchange, "100")
    before = exchange.state.account.wallet
    events = world.move(exchange, "100", funding={world.SYMBOL: Decimal("0.0001")})
    assert world.income(events, "FUNDING_FEE") == Decimal("-0.02")
    assert exchange.state.account.wallet == before - Decimal("0.02")
