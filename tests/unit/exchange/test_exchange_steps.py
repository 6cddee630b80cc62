"""Events of a step go out together, in one order, whatever socket was faster."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.exec_risk.core.exchange_events import (
    CandleClosed,
    PointReached,
    PriceReport,
    WalletReport,
)
from services.exec_risk.exchange.steps import Item, Missing, StepSequencer
from services.trade.candle import Candle


def candle(symbol: str) -> CandleClosed:
    one = Decimal(1)
    return CandleClosed(Candle("paper", symbol, "1m", 0, one, one, one, one, one))


def wallet(number: int) -> WalletReport:
    return WalletReport(Decimal(number), 60_000, "ORDER")


def point(number: int, *symbols: str) -> PointReached:
    return PointReached(number, 60_000, symbols)


@given(data=st.data())
def test_order_does_not_depend_on_arrival(data: st.DataObject) -> None:
    """The three sockets are merged in any way; what goes out is always the same."""
    user = [("user", wallet(i)) for i in range(3)]
    candles = data.draw(st.permutations([("candle", candle(s)) for s in "CAB"]))
    told = [("point", point(7, "A", "B", "C"))]
    lanes: list[list[tuple[str, WalletReport | CandleClosed | PointReached]]]
    lanes = [list(user), list(candles), list(told)]
    sequencer, out = StepSequencer(), list[Item]()
    while any(lanes):
        lane = data.draw(st.sampled_from([lane for lane in lanes if lane]))
        _, event = lane.pop(0)
        if isinstance(event, WalletReport):
            out += sequencer.user(7, [event])
        elif isinstance(event, CandleClosed):
            out += sequencer.candle(7, event)
        else:
            out += sequencer.point(event, 3)
    assert out == [
        wallet(0),
        wallet(1),
        wallet(2),
        candle("A"),
        candle("B"),
        candle("C"),
        told[0][1],
    ]
    assert sequencer.done == 7


def test_message_without_useful_event_counts() -> None:
    sequencer = StepSequencer()
    assert sequencer.point(point(1), 2) == []
    assert sequencer.user(1, [wallet(1)]) == []
    assert sequencer.user(1, []) == [wallet(1), point(1)]


def test_event_of_a_done_step_goes_out_at_once() -> None:
    sequencer = StepSequencer()
    assert sequencer.point(point(4), 0) == [point(4)]
    assert sequencer.user(4, [wallet(9)]) == [wallet(9)]
    assert sequencer.user(5, [wallet(10)]) == []
    assert sequencer.point(point(4), 0) == []


def test_what_is_missing_is_said_and_the_next_step_goes_on() -> None:
    sequencer = StepSequencer()
    sequencer.candle(1, candle("B"))
    assert sequencer.point(point(1, "A", "B"), 1) == []
    assert sequencer.point(point(2), 0) == []
    assert sequencer.give_up() == [
        candle("B"),
        Missing(point(1, "A", "B"), user_events=True, candles=("A",)),
        point(2),
    ]
    assert sequencer.give_up() == []


def test_without_the_point_socket_nothing_is_held_back() -> None:
    """A fill must reach the core even when the paper venue's clock is away."""
    sequencer = StepSequencer()
    sequencer.point(point(1), 0)
    sequencer.user(2, [wallet(1)])
    assert sequencer.disconnect() == [wallet(1)]
    assert sequencer.user(2, [wallet(2)]) == [wallet(2)]
    assert sequencer.candle(2, candle("A")) == [candle("A")]
    assert sequencer.point(point(2, "A"), 2) == [point(2, "A")]


def test_a_point_is_told_once_and_none_after_a_later_one() -> None:
    """Who takes over answers the point at which the market stands, not one that was before it."""
    told, held = StepSequencer(), StepSequencer()
    assert told.point(point(5), 0) == [point(5)]
    assert told.point(point(5), 0) == []
    assert told.point(point(4), 0) == []
    assert held.point(point(5), 1) == []
    assert held.point(point(4), 0) == []
    assert held.user(5, []) == [point(5)]


def test_events_without_their_point_can_be_released() -> None:
    sequencer = StepSequencer()
    assert not sequencer.orphaned
    sequencer.user(3, [wallet(1)])
    assert sequencer.orphaned
    assert sequencer.flush() == [wallet(1)]
    assert not sequencer.orphaned
    assert sequencer.point(point(3), 1) == [point(3)]


def test_prices_come_with_their_point_after_its_candles() -> None:
    price = PriceReport("A", 60_000, Decimal(1))
    sequencer = StepSequencer()
    assert sequencer.prices(7, [price]) == []
    assert sequencer.point(point(7, "A"), 1) == []
    assert sequencer.candle(7, candle("A")) == []
    assert sequencer.user(7, [wallet(1)]) == [wallet(1), candle("A"), price, point(7, "A")]
    # told again with the same point on a new connection
    assert sequencer.prices(7, [price]) == []
    assert sequencer.point(point(8), 0) == [point(8)]
