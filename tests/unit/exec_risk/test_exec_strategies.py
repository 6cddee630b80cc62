"""What each strategy sends, and what it does when the market moves, refuses or stays away."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.executions.execution_life import ENDS, PHASES, end, enter
from services.exec_risk.core.executions.execution_policy import ExecutionPolicy
from services.exec_risk.core.executions.impact import expected
from services.exec_risk.core.executions.strategies.sliced import schedule
from services.exec_risk.core.executions.strategies.smart import chosen
from services.exec_risk.core.executions.volume_profile import HOURS, VolumeProfile
from services.exec_risk.core.orders.lifecycle import IllegalTransition
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.risk import entry_counts
from services.trade.candle import Candle
from services.trade.execution import (
    Execution,
    ExecutionPhase,
    ExecutionState,
    ExecutionStrategy,
)
from services.trade.order import Order, OrderPurpose, OrderState, OrderType, Side, TimeInForce
from services.trade.position import TradingState
from tests.unit.exec_risk.account_desk import MINUTE, Desk, filters_of, report, signal_of

D = Decimal
ENTRY = OrderPurpose.ENTRY
BTC = "BTCUSDT"
LIMIT, SMART = ExecutionStrategy.LIMIT, ExecutionStrategy.SMART
TWAP, ICEBERG, VWAP = ExecutionStrategy.TWAP, ExecutionStrategy.ICEBERG, ExecutionStrategy.VWAP


def desk_of(strategy: ExecutionStrategy, **values: object) -> Desk:
    """A desk whose signals are executed so."""
    policy = ExecutionPolicy(entry_strategy=strategy)
    return Desk(Policy(execution=replace(policy, **values)))  # type: ignore[arg-type]


def enter_by_signal(desk: Desk, side: Side = Side.BUY) -> Order:
    """Give a signal; return the first order."""
    desk.round(signal_of(BTC, side, desk.time))
    return desk.placed(ENTRY)[-1]


def submitted(
    desk: Desk, strategy: ExecutionStrategy, rests: TimeInForce = TimeInForce.GTC
) -> Order:
    """Submit a BUY of 1 BTC; return the first order."""
    desk.round()
    command = inputs.SubmitExecution(
        "r", BTC, Side.BUY, strategy, quantity=D(1), time_in_force=rests
    )
    desk.tell(command)
    return desk.placed(ENTRY)[-1]


def price(desk: Desk, last: str, seconds: int, *, bid: str = "", ask: str = "") -> None:
    """Let market time pass, with a price."""
    desk.time += seconds * 1000
    quoted = [D(p) if p else None for p in (bid, ask)]
    desk.tell(ex.PriceReport(BTC, desk.time, D(last), quoted[0], quoted[1]))


def the_execution(desk: Desk) -> Execution:
    """The one execution."""
    (found,) = desk.book.executing.all.values()
    return found


def entries(desk: Desk) -> list[Order]:
    """Entry orders sent so far."""
    return desk.placed(ENTRY)


def cancels(desk: Desk) -> list[str]:
    """Client ids whose cancel was asked for."""
    return [e.order.client_order_id for e in desk.effects if isinstance(e, fx.Cancel)]


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


def test_vwap_follows_the_volume_of_the_hour() -> None:
    desk = desk_of(VWAP)
    desk.round()
    start = desk.time - desk.time % 3_600_000 + 3_600_000 - 150_000
    hours = [D(1)] * HOURS
    hours[(start + 150_000) // 3_600_000 % HOURS] = D(9)
    profile = VolumeProfile(BTC, MINUTE, D(100), D(0), tuple(hours), start)
    desk.book.executing.volumes[BTC] = profile
    desk.time = start
    desk.tell(ex.PriceReport(BTC, start, D(100)))
    desk.tell(inputs.SubmitExecution("r", BTC, Side.BUY, VWAP, quantity=D(5)))
    parts = [p.quantity for p in the_execution(desk).schedule]
    assert sum(parts) == 5
    assert parts == [D("0.1")] * 5 + [D("0.9")] * 5


@given(st.decimals("0", "0.05", places=6))
def test_smart_chooses_by_the_expected_impact(impact: Decimal) -> None:
    """Market under 0.1 %, limit to 0.5 %, sliced above."""
    found = chosen(SMART, impact, ExecutionPolicy())
    if impact < D("0.001"):
        assert found is ExecutionStrategy.MARKET
    elif impact <= D("0.005"):
        assert found is LIMIT
    else:
        assert found is VWAP


@given(st.decimals("0.001", "100", places=3), st.decimals("0.001", "0.1", places=3))
def test_impact_grows_with_the_root_of_the_quantity(quantity: Decimal, spread: Decimal) -> None:
    profile = VolumeProfile(BTC, MINUTE, D(50), spread, (D(0),) * HOURS, 0)
    one, four = expected(quantity, profile), expected(4 * quantity, profile)
    assert one is not None and four is not None
    assert abs(four - 2 * one) < D("1e-20")


def thin_market(desk: Desk) -> None:
    """Candles that move 2 % on hardly any volume."""
    for _ in range(3):
        candle = Candle(
            "paper", BTC, "1m", desk.time - MINUTE, D(100), D(101), D(99), D(100), D("0.5")
        )
        desk.book.executing.saw(candle)
        desk.time += MINUTE


def test_an_entry_that_would_move_the_price_beyond_the_cap_is_refused() -> None:
    """The rule is named; SMART takes the same entry in parts."""
    desk = Desk()
    thin_market(desk)
    desk.round(signal_of(BTC, Side.BUY, desk.time))
    judged = [e for e in desk.effects if isinstance(e, fx.RiskDecided)]
    assert [j.rule for j in judged] == ["slippage"]
    assert not desk.placed()
    calm = desk_of(SMART, slices=50)
    thin_market(calm)
    calm.round()
    calm.tell(inputs.SubmitExecution("r", BTC, Side.BUY, SMART, quantity=D("1")))
    found = the_execution(calm)
    assert found.strategy is VWAP and found.expected_impact is not None
    assert found.expected_impact > D("0.005")
    assert len(calm.placed(ENTRY)) == 1 and calm.placed(ENTRY)[0].quantity < 1


def test_without_any_volume_nothing_is_entered() -> None:
    desk = Desk()
    desk.tell(ex.PriceReport(BTC, desk.time, D(100)))
    desk.tell(inputs.SubmitExecution("r", BTC, Side.BUY, LIMIT, quantity=D(1)))
    (answer,) = [e for e in desk.effects if isinstance(e, fx.Answer)]
    assert answer.result["rule"] == "slippage"


@pytest.mark.parametrize("strategy", [LIMIT, TWAP, ICEBERG])
@pytest.mark.parametrize("how", ["state", "drain", "latch", "opposite", "close"])
def test_whatever_stops_entries_stops_the_rest_of_one(
    strategy: ExecutionStrategy, how: str
) -> None:
    """Incident 122: halted, draining, latched or turned, no further part is sent."""
    desk = desk_of(strategy)
    first = enter_by_signal(desk)
    desk.accept(first)
    desk.fill(first, first.quantity / 2)
    if how == "state":
        desk.tell(inputs.SetTradingState("s", TradingState.REDUCING, "test"))
    elif how == "drain":
        desk.tell(inputs.GatesChanged(replace(desk.book.gates, draining=True)))
    elif how == "latch":
        desk.tell(inputs.EmergencyStop("e", "test", "person"))
    elif how == "close":
        desk.tell(inputs.ClosePosition("c", BTC))
    else:
        desk.time += MINUTE
        desk.round(signal_of(BTC, Side.SELL, desk.time))
    state = OrderState.EXPIRED if strategy is TWAP else OrderState.CANCELED
    if strategy is not TWAP:
        assert cancels(desk)[-1] == first.client_order_id
    desk.tell(replace(report(first, state), filled_quantity=first.quantity / 2))
    price(desk, "100", 40)
    desk.tell(inputs.Tick())
    assert len(entries(desk)) == 1
    assert the_execution(desk).state is ExecutionState.CANCELED
    assert desk.book.reserved() == 0
    assert bool(desk.placed(OrderPurpose.EXIT)) is (how in ("latch", "opposite", "close"))


@pytest.mark.parametrize(
    ("code", "retryable", "orders"),
    [("-1003", True, 3), ("-2019", False, 1), ("-1111", False, 1), ("-4164", False, 1)],
)
def test_only_what_a_retry_can_cure_is_sent_again(code: str, retryable: bool, orders: int) -> None:
    """Incidents 38, 48 and 52: bounded, after a pause, and nothing stays reserved."""
    desk = Desk()
    enter_by_signal(desk)
    for pause in (1, 2, 4, 8):
        pending = [o for o in desk.book.live_orders(BTC) if o.purpose is ENTRY]
        if pending:
            desk.refuse(pending[0], code, retryable=retryable)
        assert not desk.book.live_orders(BTC), "sent again without a pause"
        price(desk, "100", pause)
    assert len(entries(desk)) == orders
    assert len({o.client_order_id for o in entries(desk)}) == orders
    assert the_execution(desk).state is ExecutionState.FAILED
    assert desk.book.reserved() == 0 and entry_counts.slots_used(desk.book) == 0


def test_a_lost_answer_blocks_further_orders_until_it_is_resolved() -> None:
    """Incident 26: outcome unknown counts as live, however often the next part falls due."""
    desk = Desk()
    order = submitted(desk, TWAP)
    desk.tell(inputs.PlaceAnswered(order.client_order_id, ex.Unknown("lost")))
    for _ in range(5):
        price(desk, "100", 30)
    assert len(entries(desk)) == 1
    desk.tell(inputs.OrderFound(order.client_order_id, report(order)))
    desk.fill(order)
    price(desk, "100", 1)
    assert entries(desk)[-1].quantity == D("0.5")


def test_a_stop_of_unknown_outcome_holds_up_the_next_part() -> None:
    """Incident 26: an unknown outcome blocks its symbol, also that of another order."""
    desk = Desk()
    order = submitted(desk, TWAP)
    desk.accept(order)
    desk.fill(order)
    (stop,) = desk.placed(OrderPurpose.STOP_LOSS)
    desk.tell(inputs.PlaceAnswered(stop.client_order_id, ex.Unknown("lost")))
    price(desk, "100", 40)
    assert entries(desk) == [order]
    for one in desk.placed(OrderPurpose.STOP_LOSS):
        desk.tell(inputs.OrderFound(one.client_order_id, report(one)))
    price(desk, "100", 1)
    assert len(entries(desk)) == 2


def test_a_late_fill_of_a_cancelled_order_reduces_what_is_left() -> None:
    """The exchange took back its word: the next order gives way, nothing fills twice."""
    desk = Desk()
    first = submitted(desk, LIMIT)
    desk.accept(first)
    price(desk, "100.10", 20)
    desk.tell(report(first, OrderState.CANCELED))
    second = entries(desk)[-1]
    desk.accept(second)
    desk.fill(first, D("0.3"))
    assert cancels(desk)[-1] == second.client_order_id
    desk.tell(report(second, OrderState.CANCELED))
    assert entries(desk)[-1].quantity == D("0.7")
    assert the_execution(desk).filled_quantity == D("0.3")


def test_a_cancel_that_was_refused_is_asked_again_only_at_the_next_tick() -> None:
    """Incident 64: no storm of cancels while it is found out what became of the order."""
    desk = Desk()
    order = submitted(desk, LIMIT)
    desk.accept(order)
    for _ in range(4):
        price(desk, "100.10", 20)
        too_late = ex.Refused("-2011", "unknown order")
        desk.tell(inputs.CancelAnswered(order.client_order_id, too_late))
    assert len(cancels(desk)) == 1
    desk.tell(inputs.Tick())
    assert len(cancels(desk)) == 2
    assert len(entries(desk)) == 1


def test_an_order_cancelled_by_somebody_else_ends_the_execution() -> None:
    desk = Desk()
    order = submitted(desk, LIMIT)
    desk.accept(order)
    desk.tell(report(order, OrderState.CANCELED))
    assert the_execution(desk).state is ExecutionState.CANCELED
    assert len(entries(desk)) == 1


def test_only_named_steps_are_legal() -> None:
    desk = Desk()
    enter_by_signal(desk)
    found = the_execution(desk)
    for phase in ExecutionPhase:
        if (found.phase, phase) in PHASES:
            assert enter(found, phase, time=0, reason="x").phase is phase
        else:
            with pytest.raises(IllegalTransition):
                enter(found, phase, time=0, reason="x")
    with pytest.raises(IllegalTransition):
        end(found, time=0)
    assert {state for _, state in ENDS} == set(ExecutionState) - {ExecutionState.WORKING}


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
