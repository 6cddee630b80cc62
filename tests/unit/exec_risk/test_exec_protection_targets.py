"""Targets: a ladder that adds up to what is held, and what becomes of it when parts fill."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.protection.protection_policy import Partial, ProtectionPolicy
from services.exec_risk.core.protection.targets import ladder
from services.exec_risk.core.protection.trailing import Ride
from services.trade.order import Order, OrderPurpose, OrderState, OrderType, Side
from services.trade.position import ExitReason, PositionSide
from tests.unit.exec_risk.account_desk import MINUTE, Desk, filters_of, report, signal_of

D = Decimal
STOP, TAKE, EXIT = OrderPurpose.STOP_LOSS, OrderPurpose.TAKE_PROFIT, OrderPurpose.EXIT
PARTIALS = st.sampled_from(
    [
        (),
        (Partial(D("0.5"), D("1.5")),),
        (Partial(D("0.3"), D(1)), Partial(D("0.3"), D(2))),
        (Partial(D("0.01"), D(1)), Partial(D("0.98"), D("1.2"))),
    ]
)


@settings(max_examples=300)
@given(
    side=st.sampled_from(PositionSide),
    partials=PARTIALS,
    total=st.one_of(st.integers(1, 5_000), st.integers(1, 100_000)),
    part=st.floats(0, 1),
    taken=st.floats(0, 1),
    cost=st.sampled_from(["0", "0.002", "0.01"]),
    take=st.sampled_from(["0.006", "0.012", "0.03"]),
)
def test_a_ladder_adds_up_to_what_is_held(
    side: PositionSide,
    partials: tuple[Partial, ...],
    total: int,
    part: float,
    taken: float,
    cost: str,
    take: str,
) -> None:
    """Each part is a multiple of the step that the filters allow; only the whole may be smaller.

    Incident 90: no part is closed at a price that does not clear the costs.
    """
    filters, entry = filters_of("BTCUSDT"), D(100)
    ride = Ride(side, entry, D("0.008"), D("0.004"), D(cost), filters)
    whole = D(total) / 1000
    held = max(filters.floor_quantity(whole * D(str(part))), D("0.001"))
    done = filters.floor_quantity((whole - held) * D(str(taken)))
    policy = ProtectionPolicy(partials=partials)
    found = ladder(ride, policy, take_fraction=D(take), total=whole, held=held, taken=done)
    assert sum(r.quantity for r in found) == held
    assert len(found) == len({r.price for r in found})
    away = [(r.price - entry) * side.sign for r in found]
    assert away == sorted(away) and away[0] > 0
    for rung in found:
        assert filters.floor_quantity(rung.quantity) == rung.quantity > 0
        if len(found) > 1:
            assert rung.quantity * rung.price >= filters.min_notional
    for distance in away[:-1]:
        assert distance > entry * D(cost)


def targets(desk: Desk) -> list[Order]:
    """The live targets, nearest first."""
    position = desk.book.positions["BTCUSDT"]
    live = desk.book.orders_of(position.position_id, TAKE)
    return sorted(live, key=lambda o: (o.trigger_price or D(0)) * position.side.sign)


@pytest.mark.parametrize("side", list(Side))
def test_half_is_taken_and_the_rest_goes_on_covered(side: Side) -> None:
    """After the first target the stop still covers; then it is brought to what is left."""
    desk = Desk()
    entry = desk.open(side=side)
    near, far = targets(desk)
    assert near.quantity + far.quantity == entry.quantity
    assert desk.book.positions["BTCUSDT"].take_profit_price == near.trigger_price
    desk.effects.clear()
    desk.fill(near, near.quantity / 2)
    assert not desk.trader.unprotected() and not desk.placed()  # it fills: nothing is changed
    desk.fill(near, near.quantity / 2)
    assert not desk.trader.unprotected()
    (stop,) = desk.placed(STOP)
    assert stop.quantity == far.quantity and not desk.placed(TAKE) and not desk.of(fx.Cancel)
    desk.accept(stop)
    (cancel,) = desk.of(fx.Cancel)
    assert isinstance(cancel, fx.Cancel) and cancel.order.quantity == entry.quantity
    assert desk.book.positions["BTCUSDT"].take_profit_price == far.trigger_price


def test_the_last_target_closes_and_the_stop_is_cancelled() -> None:
    """When one closes the position its siblings go."""
    desk = Desk()
    desk.open()
    for target in targets(desk):
        desk.fill(target, price=D(102))
        desk.accept_all()
    (closed,) = desk.of(fx.PositionClosed)
    assert isinstance(closed, fx.PositionClosed)
    assert closed.position.exit_reason is ExitReason.TAKE_PROFIT
    left = {o.client_order_id for o in desk.book.live_orders()}
    assert left and left == desk.book.cancelling


def test_an_entry_that_fills_in_parts_has_its_ladder_brought_along() -> None:
    """Targets of the first part go when those of the whole rest; never more than the bound."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed()[0]
    desk.accept(entry)
    parts = [entry.quantity / 5] * 5
    for part in parts:
        desk.fill(entry, part)
        live = desk.book.orders_of(entry.position_id, TAKE)
        assert len(live) <= Policy().protection.max_targets
        assert len(desk.book.orders_of(entry.position_id, STOP)) <= Policy().protection.max_stops
    for _ in range(4):
        desk.accept_all()
        for order in desk.book.live_orders():
            if order.client_order_id in desk.book.cancelling:
                desk.tell(report(order, OrderState.CANCELED))
        desk.tell(inputs.Tick())
    assert sum(t.quantity for t in targets(desk)) == entry.quantity
    (stop,) = desk.book.orders_of(entry.position_id, STOP)
    assert stop.quantity == entry.quantity


@pytest.mark.parametrize("code", ["-1111", "-4045", "-4131", "-1008"])
def test_a_refused_target_costs_no_position(code: str) -> None:
    """A position with a live stop but without a target is not unprotected: kept, told, tried."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    desk.fill(desk.placed()[0])
    desk.accept(desk.placed(STOP)[0])
    tried = 0
    for _ in range(40):
        for order in desk.placed(TAKE)[tried:]:
            desk.refuse(order, code)
            tried += 1
        desk.tell(inputs.Tick())
        desk.time += MINUTE
        desk.tell(ex.StreamStateChanged("market", True))
        desk.tell(inputs.Tick())
    assert not desk.placed(EXIT) and not desk.trader.unprotected()
    assert 2 < tried <= 2 * 6  # both, after 1, 2, 4, 8 and 16 minutes
    assert "TARGET_REFUSED" in [e.alert_type for e in desk.effects if isinstance(e, fx.Alert)]


def test_a_refused_target_is_tried_again_later_and_taken() -> None:
    """The pause is market time: then the missing part of the ladder is placed."""
    desk = Desk(Policy(protection=ProtectionPolicy(partials=())))
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    desk.fill(desk.placed()[0])
    desk.accept(desk.placed(STOP)[0])
    desk.refuse(desk.placed(TAKE)[0], "-1111")
    desk.tell(inputs.Tick())
    assert len(desk.placed(TAKE)) == 1
    desk.time += MINUTE
    desk.tell(inputs.Tick())
    assert len(desk.placed(TAKE)) == 2


def test_a_target_that_was_passed_is_taken_at_market() -> None:
    """-2021 on a target: its part, not the whole position, is closed at market."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed()[0]
    desk.fill(entry)
    desk.accept(desk.placed(STOP)[0])
    near, far = desk.placed(TAKE)
    desk.refuse(near, "-2021")
    desk.accept(far)
    part = desk.placed(TAKE)[-1]
    assert part.type is OrderType.MARKET and part.reduce_only
    assert part.quantity == near.quantity
    desk.fill(part, price=D(102))
    position = desk.book.positions["BTCUSDT"]
    assert position.quantity == far.quantity and position.exit_reason is None
    assert [t.client_order_id for t in targets(desk)] == [far.client_order_id]


def test_a_fee_that_eats_the_first_target_leaves_only_the_last() -> None:
    """Incident 90: a part whose profit would go to fees is not closed by itself."""
    desk = Desk(Policy(taker_fee=D("0.006")))
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    (entry,) = desk.placed()
    desk.fill(entry)
    (target,) = desk.placed(TAKE)
    assert target.quantity == entry.quantity


def test_parts_below_the_least_notional_are_merged() -> None:
    """Incident 90: no part below the exchange's least; the whole goes at the last target."""
    desk = Desk()
    book = desk.book
    book.filters["BTCUSDT"] = replace(book.filters["BTCUSDT"], min_notional=D(4000))
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    (entry,) = desk.placed()
    desk.fill(entry)
    (target,) = desk.placed(TAKE)
    assert 4000 <= entry.quantity * 100 < 8000
    assert target.quantity == entry.quantity


@pytest.mark.parametrize("partials", ["x", "50", "50@", "@2", "60@1,50@2", "150@1", "50@2,25@1"])
def test_a_ladder_that_cannot_be_meant_stops_the_start(partials: str) -> None:
    """Incident 3: a percentage out of range is refused at the boundary, not sent."""
    from services.exec_risk.settings import Settings

    with pytest.raises(ValueError, match=r"partial|PARTIAL"):
        Settings(_env_file=None, partial_take_profits=partials)
