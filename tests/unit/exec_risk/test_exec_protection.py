"""Protection: levels, the average fill, replacement, refusal, overdue."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import inputs
from services.exec_risk.core.exchange_events import Accepted, Unknown
from services.exec_risk.core.protection.protection import AbsurdDistance, fractions, levels
from services.exec_risk.core.protection.protection_policy import ProtectionPolicy
from services.trade.order import OrderPurpose, OrderState, OrderType, Side
from services.trade.position import ExitReason, PositionSide
from tests.unit.exec_risk.account_desk import Desk, filters_of, report, signal_of

STOP, TAKE = OrderPurpose.STOP_LOSS, OrderPurpose.TAKE_PROFIT


@given(
    side=st.sampled_from(PositionSide),
    entry=st.decimals("0.5", "100000", places=2),
    atr=st.decimals("0", "0.04", places=6),
)
def test_levels_lie_around_the_entry(side: PositionSide, entry: Decimal, atr: Decimal) -> None:
    """Incident 1: LONG stop < entry < target, SHORT target < entry < stop."""
    stop, take = fractions(atr, 0.5, ProtectionPolicy())
    found = levels(side, entry, stop, take, filters_of("BTCUSDT"))
    if side is PositionSide.LONG:
        assert found.stop < entry < found.take
    else:
        assert found.take < entry < found.stop


def test_price_units_are_refused() -> None:
    """Incident 2: an ATR of 40 in price units is refused; 40 on 2000 is a fraction of 2 %."""
    with pytest.raises(AbsurdDistance):
        fractions(Decimal(40), 0.5, ProtectionPolicy())
    stop, _ = fractions(Decimal(40) / 2000, 0.5, ProtectionPolicy(stop_atr=Decimal(1)))
    assert stop == Decimal("0.02")


@pytest.mark.parametrize("side", [Side.BUY, Side.SELL])
def test_stop_is_asked_for_with_the_fill_from_its_average(side: Side) -> None:
    """Incidents 4 and 24: same step as the fill, from the fill price, never the signal's."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", side, desk.time))
    entry = desk.placed()[0]
    desk.effects.clear()
    desk.fill(entry, price=Decimal(110))
    stop, takes = desk.placed(STOP)[0], desk.placed(TAKE)
    away = Decimal("0.008") * 110
    assert stop.trigger_price == Decimal(110) - side.sign * away
    assert stop.type is OrderType.STOP_MARKET
    assert stop.quantity == sum(t.quantity for t in takes) == entry.quantity
    assert stop.reduce_only and all(t.reduce_only for t in takes) and not entry.reduce_only


def test_partial_fills_place_the_new_stop_before_the_old_is_cancelled() -> None:
    """A stop covers what is held; the older one goes only when the newer one rests."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed()[0]
    part = entry.quantity / 2
    desk.fill(entry, part)
    first = desk.placed(STOP)[0]
    desk.accept(first)
    desk.fill(entry, part)
    second = desk.placed(STOP)[1]
    assert (first.quantity, second.quantity) == (part, entry.quantity)
    assert not desk.of(fx.Cancel)
    desk.accept(second)
    cancelled = [e.order for e in desk.effects if isinstance(e, fx.Cancel)]
    assert [o.client_order_id for o in cancelled if o.purpose is STOP] == [first.client_order_id]


def test_filled_stop_closes_and_cancels_the_target() -> None:
    """One of the two fills, the other goes."""
    desk = Desk()
    desk.open()
    desk.fill(desk.placed(STOP)[0], price=Decimal(99))
    assert not desk.book.positions
    closed = [e.position for e in desk.effects if isinstance(e, fx.PositionClosed)]
    assert closed[0].exit_reason is ExitReason.STOP_LOSS
    cancelled = [e.order.purpose for e in desk.effects if isinstance(e, fx.Cancel)]
    assert cancelled == [TAKE, TAKE]


def test_accepted_cancel_that_still_rests_is_not_repeated() -> None:
    """The venue answers a cancel before it takes effect; asking on would never end."""
    desk = Desk()
    desk.open()
    desk.fill(desk.placed(STOP)[0], price=Decimal(99))
    takes = desk.placed(TAKE)
    desk.effects.clear()
    for take in takes:
        desk.tell(inputs.CancelAnswered(take.client_order_id, Accepted(report(take))))
    desk.tell(inputs.Tick())
    assert not desk.of(fx.Cancel)
    for take in takes:
        desk.tell(report(take, OrderState.CANCELED))
    assert not desk.book.live_orders()


def test_refused_stop_closes_at_market_at_once() -> None:
    """Incident 4: -2021 proves that there is no stop; the position is closed."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    desk.fill(desk.placed()[0])
    desk.refuse(desk.placed(STOP)[0], "-2021")
    exits = desk.placed(OrderPurpose.EXIT)
    assert len(exits) == 1 and exits[0].reduce_only
    assert desk.book.positions["BTCUSDT"].exit_reason is ExitReason.UNPROTECTED


def test_overdue_protection_closes() -> None:
    """A stop that is never answered is no protection."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    desk.fill(desk.placed()[0])
    naked = desk.trader.unprotected()
    desk.tell(inputs.ProtectionOverdue(naked[0].position_id))
    assert len(desk.placed(OrderPurpose.EXIT)) == 1


def test_unknown_stop_is_placed_again_under_a_new_number() -> None:
    """A lost reply of a stop: another at once; the surplus is cancelled when it is found."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    desk.fill(desk.placed()[0])
    first = desk.placed(STOP)[0]
    desk.tell(inputs.PlaceAnswered(first.client_order_id, Unknown("timeout")))
    second = desk.placed(STOP)[1]
    assert second.client_order_id != first.client_order_id
    desk.accept(second)
    desk.tell(inputs.OrderFound(first.client_order_id, report(first)))
    cancelled = [e.order.client_order_id for e in desk.effects if isinstance(e, fx.Cancel)]
    assert cancelled == [first.client_order_id]
