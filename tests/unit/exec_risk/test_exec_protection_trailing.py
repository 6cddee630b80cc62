"""Break-even and trailing: only ever tighter, place then cancel, the same after a restart."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.protection import trailing
from services.exec_risk.core.protection.protection import tighter
from services.exec_risk.core.protection.protection_policy import ProtectionPolicy
from services.exec_risk.core.protection.trailing import Progress, Ride, Stage
from services.trade.order import Order, OrderPurpose, OrderState, Side
from services.trade.position import ExitReason, PositionSide
from tests.unit.exec_risk.account_desk import MINUTE, PRICE, Desk, filters_of, report, signal_of

D = Decimal
STOP, TAKE, EXIT = OrderPurpose.STOP_LOSS, OrderPurpose.TAKE_PROFIT, OrderPurpose.EXIT
SIDES = st.sampled_from(PositionSide)
NO_TARGETS = ProtectionPolicy(partials=(), max_reward=D(40), min_reward=D(40))
"""Targets so far away that only the stop ends a position."""


def ride(side: PositionSide, entry: Decimal = PRICE, stop: str = "0.008") -> Ride:
    """A position's terms: R of 0.8 %, ATR of 0.4 %, costs of 0.2 %."""
    return Ride(side, entry, D(stop), D("0.004"), D("0.002"), filters_of("BTCUSDT"))


@given(
    side=SIDES,
    moves=st.lists(st.integers(-300, 300), min_size=1, max_size=60),
    entry=st.decimals("0.5", "90000", places=2),
)
def test_a_stop_never_loosens_whatever_the_path(
    side: PositionSide, moves: list[int], entry: Decimal
) -> None:
    """Incident 6: over any path, on both sides, no stop is looser than the one before."""
    terms, progress, price = ride(side, entry), Progress("p"), entry
    policy = ProtectionPolicy()
    stop = trailing.stop_of(progress, terms)
    for move in moves:
        price = max(price * (1 + D(move) / 10_000), D("0.01"))
        progress = trailing.moved(trailing.seen(progress, terms, price, D(0)), terms, policy)
        after = trailing.stop_of(progress, terms)
        assert not tighter(side, stop, after)
        assert after > 0
        stop = after


@given(
    side=SIDES,
    steps=st.lists(st.tuples(st.integers(-300, 300), st.integers(-50, 50)), max_size=40),
    trail=st.sampled_from(["0.5", "2", "12"]),
)
def test_a_moved_stop_never_loosens_when_its_terms_change(
    side: PositionSide, steps: list[tuple[int, int]], trail: str
) -> None:
    """Incident 6: late entry fills move the average, a restart may bring other settings."""
    progress, price = Progress("p"), D(100)
    for number, (move, average) in enumerate(steps):
        price = max(price * (1 + D(move) / 10_000), D(1))
        terms = ride(side, D(100) + D(average) / 10)
        policy = ProtectionPolicy(trail_atr=D(trail) if number % 2 else D(2))
        before = progress.stop_price
        progress = trailing.moved(trailing.seen(progress, terms, price, D(0)), terms, policy)
        if progress.stop_price != before:
            assert progress.stop_price is not None
            stood = terms.first if before is None else before
            assert tighter(side, progress.stop_price, stood)


@given(side=SIDES, size=st.integers(1, 10_000), price=st.decimals("90", "110", places=2))
def test_profit_in_r_does_not_depend_on_size(side: PositionSide, size: int, price: Decimal) -> None:
    """Incident 89: R is per unit; the money made over the money risked is the same number."""
    terms = ride(side)
    made = (price - terms.entry) * side.sign * size
    risked = terms.entry * terms.stop_fraction * size
    assert terms.reward(price) == made / risked


@pytest.mark.parametrize("side", list(PositionSide))
def test_break_even_then_trailing(side: PositionSide) -> None:
    """At 1 R the stop covers entry and costs; from 1.5 R it stands two ranges behind the best."""
    terms = ride(side)
    progress = after(Progress("p"), terms, "0.99")
    assert (progress.stage, progress.stop_price) == (Stage.FIRST, None)
    progress = after(progress, terms, "1")
    assert progress.stage is Stage.BREAK_EVEN
    assert progress.stop_price == D(100) * (1 + side.sign * D("0.002"))
    progress = after(progress, terms, "2")
    assert progress.stage is Stage.TRAILING
    best = D(100) * (1 + side.sign * D("0.016"))
    assert progress.stop_price == terms.rounded(best * (1 - side.sign * D("0.008")))


def after(progress: Progress, terms: Ride, reward: str) -> Progress:
    """The progress after a price that many R in the position's favour."""
    price = D(100) * (1 + terms.side.sign * D(reward) * terms.stop_fraction)
    return trailing.moved(trailing.seen(progress, terms, price, D(0)), terms, ProtectionPolicy())


@given(st.decimals(allow_nan=True, allow_infinity=True), SIDES)
def test_odd_prices_cannot_stop_the_evaluation(price: Decimal, side: PositionSide) -> None:
    """Incident 19: whatever is told as a price, the evaluation ends and the stop is a price."""
    desk = Desk(Policy(protection=ProtectionPolicy(follow_prices=True)))
    desk.open(side=side.entry_side)
    desk.time += MINUTE
    desk.tell(ex.PriceReport("BTCUSDT", desk.time, price))
    progress = trailing.seen(Progress("p"), ride(side), price, D(0))
    progress = trailing.moved(progress, ride(side), ProtectionPolicy())
    assert progress.stop_price is None or progress.stop_price > 0
    for order in desk.placed(STOP):
        assert order.trigger_price is not None and order.trigger_price > 0


def rise(desk: Desk, side: Side, percent: str) -> None:
    """Close the next minute's candle so many percent in the position's favour."""
    desk.time += MINUTE
    desk.close("BTCUSDT", D(100) * (1 + side.sign * D(percent) / 100))


def stops(desk: Desk) -> list[Order]:
    """Every stop that was sent."""
    return desk.placed(STOP)


@pytest.mark.parametrize("side", list(Side))
def test_a_moved_stop_is_placed_before_the_older_is_cancelled(side: Side) -> None:
    """The older stop is cancelled only when the newer one surely rests."""
    desk = Desk(Policy(protection=NO_TARGETS))
    desk.open(side=side)
    desk.effects.clear()
    rise(desk, side, "2")
    (newer,) = stops(desk)
    assert not desk.of(fx.Cancel)
    older = desk.book.orders_of(newer.position_id, STOP)[0]
    desk.accept(newer)
    cancelled = [e.order.client_order_id for e in desk.effects if isinstance(e, fx.Cancel)]
    assert cancelled == [older.client_order_id]
    assert desk.book.positions["BTCUSDT"].stop_loss_price == newer.trigger_price


@pytest.mark.parametrize("code", ["-1111", "-4045", "-1008", "-4131"])
def test_a_refused_move_keeps_the_older_stop(code: str) -> None:
    """Incident 21: what refuses a tighter stop costs nothing; it is tried again later, bounded."""
    desk = Desk(Policy(protection=NO_TARGETS))
    desk.open()
    desk.effects.clear()
    rise(desk, Side.BUY, "2")
    tried = 0
    for _ in range(30):
        for order in stops(desk)[tried:]:
            desk.refuse(order, code)
            tried += 1
        desk.tell(inputs.Tick())
        desk.time += MINUTE
        desk.close("BTCUSDT", D(102))
        desk.tell(inputs.Tick())
    assert 2 < tried <= 6  # after 1, 2, 4, 8 and 16 minutes
    assert not desk.of(fx.Cancel) and not desk.placed(EXIT)
    assert not desk.trader.unprotected()
    assert "STOP_REFUSED" in [e.alert_type for e in desk.effects if isinstance(e, fx.Alert)]


def test_a_lost_answer_of_a_move_is_waited_for_while_the_older_stop_rests() -> None:
    """Incident 21: one unknown stop does not become many."""
    desk = Desk(Policy(protection=NO_TARGETS))
    desk.open()
    desk.effects.clear()
    rise(desk, Side.BUY, "2")
    desk.tell(inputs.PlaceAnswered(stops(desk)[0].client_order_id, ex.Unknown("lost")))
    for _ in range(5):
        desk.tell(inputs.Tick())
    assert len(stops(desk)) == 1


def test_small_moves_replace_nothing() -> None:
    """Incident 21: within 0.1 % of where it belongs a stop is left alone."""
    desk = Desk(Policy(protection=NO_TARGETS))
    desk.open()
    rise(desk, Side.BUY, "2")
    desk.accept_all()
    desk.effects.clear()
    (before,) = desk.book.progress.values()
    for step in range(1, 10):
        rise(desk, Side.BUY, f"2.0{step}")
    (after_all,) = desk.book.progress.values()
    assert not stops(desk)
    assert before.stop_price == after_all.stop_price


@pytest.mark.parametrize("older", [False, True])
def test_the_fill_of_a_moved_stop_is_a_trailing_stop(older: bool) -> None:
    """The exit reason says which stop it was: the first one, or one that had been moved."""
    desk = Desk(Policy(protection=NO_TARGETS))
    desk.open()
    rise(desk, Side.BUY, "2")
    desk.accept_all()
    first, moved = stops(desk)[:2]
    desk.fill(first if older else moved, price=D("101.5"))
    (closed,) = desk.of(fx.PositionClosed)
    assert isinstance(closed, fx.PositionClosed)
    expected = ExitReason.STOP_LOSS if older else ExitReason.TRAILING_STOP
    assert closed.position.exit_reason is expected
    assert not [o for o in desk.book.live_orders() if o.client_order_id not in desk.book.cancelling]


def test_a_stop_on_the_wrong_side_of_the_price_is_a_close() -> None:
    """A candle that ran up and fell back: the trailing stop was passed, so it is left at market."""
    desk = Desk(Policy(protection=NO_TARGETS))
    desk.open()
    desk.effects.clear()
    desk.time += MINUTE
    desk.close("BTCUSDT", D("100.1"), high=D(104))
    assert not stops(desk)
    assert len(desk.placed(EXIT)) == 1
    assert desk.book.positions["BTCUSDT"].exit_reason is ExitReason.TRAILING_STOP


def test_a_moved_stop_that_the_price_has_passed_is_a_close() -> None:
    """Incident 4: -2021 on a moved stop proves that the price went through it."""
    desk = Desk(Policy(protection=NO_TARGETS))
    desk.open()
    rise(desk, Side.BUY, "2")
    desk.refuse(stops(desk)[-1], "-2021")
    assert desk.book.positions["BTCUSDT"].exit_reason is ExitReason.TRAILING_STOP
    assert len(desk.placed(EXIT)) == 1


def test_candles_of_before_the_position_say_nothing() -> None:
    """A high that was there before the entry is no profit of the position."""
    desk = Desk(Policy(protection=NO_TARGETS))
    desk.open()
    desk.effects.clear()
    desk.close("BTCUSDT", D(100), high=D(104))
    for _ in range(2):
        desk.close("BTCUSDT", D(104))
        desk.time -= MINUTE
    assert not stops(desk) and not desk.placed(EXIT)


def test_the_high_of_a_candle_that_began_before_the_entry_is_not_the_positions() -> None:
    """Its high may lie before the entry; its close does not."""
    desk = Desk(Policy(protection=NO_TARGETS))
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    desk.time += MINUTE // 2
    desk.fill(desk.placed()[0])
    desk.accept_all()
    desk.effects.clear()
    desk.time += MINUTE // 2
    desk.close("BTCUSDT", D(100), high=D(104))
    assert not stops(desk) and not desk.placed(EXIT)
    desk.close("BTCUSDT", D(102))
    assert len(stops(desk)) == 1


def test_prices_move_stops_only_where_the_policy_follows_them() -> None:
    """On the paper venue prices between closes come by the wall clock: they decide nothing."""
    for follows in (False, True):
        desk = Desk(Policy(protection=ProtectionPolicy(follow_prices=follows)))
        desk.open()
        desk.effects.clear()
        desk.tell(ex.PriceReport("BTCUSDT", desk.time + 1, D(102)))
        assert bool(stops(desk)) is follows


@settings(max_examples=60)
@given(
    side=st.sampled_from(Side),
    closes=st.lists(st.integers(-120, 160), min_size=1, max_size=14),
    at=st.integers(0, 13),
)
def test_a_restart_changes_no_later_decision(side: Side, closes: list[int], at: int) -> None:
    """Dropped at any point and read back from what was stored, the core decides the same."""
    kept, other = Desk(), Desk()
    for desk in (kept, other):
        desk.open(side=side)
    price = D(100)
    for number, move in enumerate(closes):
        price *= 1 + D(move) / 10_000 * side.sign
        if number == at:
            other = other.restart()
        for desk in (kept, other):
            desk.time += MINUTE
            desk.close("BTCUSDT", price.quantize(D("0.01")))
            desk.tell(inputs.Tick())
            desk.accept_all()
            for order in desk.book.live_orders():
                if order.client_order_id in desk.book.cancelling:
                    desk.tell(report(order, OrderState.CANCELED))
    assert [_named(o) for o in kept.placed()] == [_named(o) for o in other.placed()]
    assert kept.book.positions == other.book.positions
    assert kept.book.progress == other.book.progress


def _named(order: Order) -> tuple[str, Decimal | None, Decimal, int]:
    return order.client_order_id, order.trigger_price, order.quantity, order.decided_time
