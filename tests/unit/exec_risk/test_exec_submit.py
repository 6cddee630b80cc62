"""What callers may submit: never a flip, never past a rule, and the same answer again."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.inputs import CancelOrder, SubmitExecution
from services.trade.execution import Execution, ExecutionState, ExecutionStrategy
from services.trade.order import OrderPurpose, OrderState, OrderType, Side
from services.trade.position import TradingState
from tests.unit.exec_risk.account_desk import MINUTE, Desk, report

D = Decimal
ENTRY, EXIT, STOP = OrderPurpose.ENTRY, OrderPurpose.EXIT, OrderPurpose.STOP_LOSS
BTC = "BTCUSDT"
MARKET = ExecutionStrategy.MARKET


def desk_at_market() -> Desk:
    """A desk that has seen a candle of each symbol."""
    desk = Desk()
    desk.round()
    return desk


def submit(
    desk: Desk, side: Side = Side.BUY, name: str = "r1", symbol: str = BTC, **values: Any
) -> dict[str, str]:
    """Submit and return the answer."""
    if not {"quantity", "notional_usd", "margin_usd"} & set(values):
        values["quantity"] = D("0.05")
    command = SubmitExecution(name, symbol, side, values.pop("strategy", MARKET), **values)
    found = [e for e in desk.tell(command) if isinstance(e, fx.Answer)]
    assert len(found) == 1
    return found[0].result


def long_of(desk: Desk, quantity: str) -> None:
    """Open a protected LONG of this quantity through an execution."""
    size = D(quantity)
    assert submit(desk, name="open", quantity=D("0.05"))["approved"] == "true"
    entry = desk.placed(ENTRY)[-1]
    desk.accept(entry)
    desk.fill(entry, size)
    desk.tell(replace(report(entry, OrderState.EXPIRED), filled_quantity=size))
    for order in desk.placed()[-2:]:
        if order.purpose is not ENTRY:
            desk.accept(order)
    for execution in desk.book.executing.entering():
        for order in desk.book.live_orders():
            if order.execution_id == execution.execution_id:
                desk.tell(CancelOrder("c", order.client_order_id))
                desk.tell(report(order, OrderState.EXPIRED))
    assert desk.book.positions[BTC].quantity == size
    desk.effects.clear()


def execution_of(desk: Desk, answer: dict[str, str]) -> Execution:
    """The execution that an answer names."""
    return desk.book.executing.all[answer["execution_id"]]


@pytest.mark.parametrize("state", list(TradingState))
@pytest.mark.parametrize("flag", [True, False])
def test_a_sell_against_a_long_only_reduces_it(state: TradingState, flag: bool) -> None:
    """Incident 31: long 0.010 and a SELL of 0.050 closes 0.010 and never turns around."""
    desk = desk_at_market()
    long_of(desk, "0.010")
    desk.tell(inputs.SetTradingState("s", state, "test"))
    answer = submit(desk, Side.SELL, quantity=D("0.050"), reduce_only=flag)
    assert (answer["approved"], answer["rule"]) == ("true", "reduce_only")
    (order,) = desk.placed(EXIT)
    assert (order.quantity, order.reduce_only) == (D("0.010"), True)
    desk.accept(order)
    desk.fill(order)
    assert BTC not in desk.book.positions
    assert execution_of(desk, answer).state is ExecutionState.DONE
    assert not desk.placed(ENTRY)


@pytest.mark.parametrize("state", [TradingState.REDUCING, TradingState.HALTED])
def test_a_buy_while_flat_is_refused_by_the_trading_state(state: TradingState) -> None:
    """REDUCING while flat and a BUY arrives: no order, and the rule is named."""
    desk = desk_at_market()
    desk.tell(inputs.SetTradingState("s", state, "test"))
    answer = submit(desk)
    assert (answer["approved"], answer["rule"]) == ("false", "trading_state")
    assert not desk.placed()


def test_an_order_of_forty_times_the_account_is_refused() -> None:
    """A named rule refuses it, and nothing is sent."""
    desk = desk_at_market()
    answer = submit(desk, notional_usd=D(400_000))
    assert (answer["approved"], answer["rule"]) == ("false", "notional")
    assert not desk.placed()


def test_a_second_buy_on_an_open_long_is_refused() -> None:
    """Incident 30: no pyramiding, whoever asks."""
    desk = desk_at_market()
    long_of(desk, "0.05")
    answer = submit(desk, name="r2")
    assert (answer["approved"], answer["rule"]) == ("false", "position_exists")


def test_two_submits_in_one_batch_are_one_order() -> None:
    """Incident 27: the second finds the first one's execution at work."""
    desk = desk_at_market()
    assert submit(desk, name="a")["approved"] == "true"
    assert submit(desk, name="b")["rule"] == "order_pending"
    assert len(desk.placed(ENTRY)) == 1


def test_the_same_request_again_is_the_same_execution() -> None:
    """Incident 27: an id names one execution, however often it is delivered."""
    desk = desk_at_market()
    first, again = submit(desk), submit(desk)
    assert first["execution_id"] == again["execution_id"]
    assert len(desk.placed(ENTRY)) == 1


def test_a_symbol_that_is_not_traded_is_not_found() -> None:
    """Incident 54: an odd symbol is refused by itself; the next one is served."""
    desk = desk_at_market()
    assert submit(desk, symbol="ODDUSDT")["code"] == "SYMBOL_NOT_FOUND"
    assert submit(desk, name="r2")["approved"] == "true"


@given(
    margin=st.decimals("2", "400", places=2),
    leverage=st.integers(1, 20),
    price=st.decimals("0.5", "1000", places=2),
)
def test_margin_and_notional_are_two_units_of_one_size(
    margin: Decimal, leverage: int, price: Decimal
) -> None:
    """Incidents 36 and 37: the notional is margin times leverage, once, in both requests."""
    by_margin = SubmitExecution("a", BTC, Side.BUY, MARKET, margin_usd=margin, leverage=leverage)
    by_notional = SubmitExecution("b", BTC, Side.BUY, MARKET, notional_usd=margin * leverage)
    assert by_margin.notional(price, leverage) == by_notional.notional(price, leverage)
    desk = Desk()
    desk.round(close=price)
    answer = submit(desk, margin_usd=margin, leverage=leverage)
    if answer["approved"] == "true":
        found = execution_of(desk, answer)
        assert found.quantity * price <= margin * leverage < (found.quantity + D("0.001")) * price


def test_reducing_needs_a_position_of_the_other_side() -> None:
    desk = desk_at_market()
    assert submit(desk, Side.SELL, reduce_only=True)["rule"] == "reduce_only"
    long_of(desk, "0.05")
    assert submit(desk, Side.BUY, "r2", reduce_only=True)["rule"] == "reduce_only"
    assert not desk.placed()


def test_an_exit_in_parts_goes_on_while_entries_are_stopped() -> None:
    """Incident 16: no gate of entries blocks or delays what makes a position smaller."""
    desk = desk_at_market()
    long_of(desk, "0.05")
    answer = submit(desk, Side.SELL, strategy=ExecutionStrategy.TWAP, duration_ms=5 * MINUTE)
    desk.tell(inputs.SetTradingState("s", TradingState.HALTED, "test"))
    for _ in range(8):
        for order in desk.book.live_orders():
            if order.execution_id:
                desk.accept(order)
                desk.fill(order)
        desk.time += MINUTE
        desk.tell(ex.PriceReport(BTC, desk.time, D(100)))
    assert BTC not in desk.book.positions
    assert execution_of(desk, answer).state is ExecutionState.DONE
    assert len(desk.placed(EXIT)) > 1


def test_a_close_does_not_wait_for_a_resting_exit() -> None:
    """Incident 15: the market order goes at once, the resting one is withdrawn."""
    desk = desk_at_market()
    long_of(desk, "0.05")
    submit(desk, Side.SELL, strategy=ExecutionStrategy.LIMIT, limit_price=D(105))
    (resting,) = desk.placed(EXIT)
    desk.accept(resting)
    desk.tell(inputs.ClosePosition("c", BTC))
    assert [o.type for o in desk.placed(EXIT)] == [OrderType.LIMIT, OrderType.MARKET]
    assert [e.order.client_order_id for e in desk.effects if isinstance(e, fx.Cancel)] == [
        resting.client_order_id
    ]


def test_cancel_takes_back_all_that_is_left() -> None:
    desk = desk_at_market()
    limit: dict[str, Any] = {"strategy": ExecutionStrategy.LIMIT, "limit_price": D(99)}
    assert submit(desk, name="small", quantity=D("0.05"), **limit)["rule"] == "filters"
    answer = submit(desk, quantity=D("0.2"), stop_fraction=D("0.01"), **limit)
    (order,) = desk.placed(ENTRY)
    desk.accept(order)
    desk.tell(ex.PriceReport(BTC, desk.time, D(99)))
    desk.fill(order, order.quantity / 2, D(99))
    desk.tell(CancelOrder("c1", order.client_order_id))
    assert desk.of(fx.Cancel)
    ended = replace(report(order, OrderState.CANCELED), filled_quantity=order.quantity / 2)
    desk.tell(ended)
    found = execution_of(desk, answer)
    assert (found.state, found.reason) == (ExecutionState.CANCELED, "cancelled by an operator")
    assert desk.book.positions[BTC].quantity == order.quantity / 2
    assert len(desk.placed(ENTRY)) == 1


def test_a_stop_cannot_be_cancelled_by_its_id() -> None:
    """Incident 7: what protects a position is not taken away."""
    desk = desk_at_market()
    long_of(desk, "0.05")
    stop = desk.book.orders_of(desk.book.positions[BTC].position_id, STOP)[-1]
    found = desk.tell(CancelOrder("c1", stop.client_order_id))
    (answer,) = [e for e in found if isinstance(e, fx.Answer)]
    assert (answer.ok, answer.result["code"]) == (False, "PROTECTS_POSITION")
    assert not desk.of(fx.Cancel)


@pytest.mark.parametrize(
    ("stop", "take", "fine"),
    [("0.01", "0.03", True), ("0.9", "0.03", False), ("0.01", "0.9", False), (None, None, True)],
)
def test_distances_that_a_caller_asks_for(stop: str | None, take: str | None, fine: bool) -> None:
    """Incident 2: an absurd distance is refused by its rule, never corrected."""
    desk = desk_at_market()
    answer = submit(
        desk,
        stop_fraction=None if stop is None else D(stop),
        take_fraction=None if take is None else D(take),
    )
    assert (answer["approved"] == "true") is fine
    if not fine:
        assert answer["rule"] == "protection"
    elif stop is not None:
        entry = desk.placed(ENTRY)[0]
        desk.fill(entry)
        (placed,) = desk.placed(STOP)
        assert placed.trigger_price == D("99.00")
