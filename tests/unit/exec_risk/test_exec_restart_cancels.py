"""Cancels that are on their way when a replica dies: the next one knows of them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.orders.order_kinds import LIVE_ON_EXCHANGE
from services.exec_risk.core.reconciling.reconcile import START
from services.trade.order import Order, OrderPurpose, OrderState, Side
from tests.unit.exec_risk.account_desk import Desk, report
from tests.unit.exec_risk.exchange_readings import by_hand, reading, resting_of

D = Decimal
STOP = OrderPurpose.STOP_LOSS


def died_cancelling(
    desk: Desk, part: Decimal, back: Decimal, *, stored: bool = True
) -> tuple[Desk, Order, Order]:
    """A person closes a part, the first stop's cancel is sent and not answered; the next replica.

    Meanwhile some of it is bought back. Return the replica that reads it all, the stop that is
    being cancelled, and the one that took its place.
    """
    desk.open()
    (first,) = desk.placed(STOP)
    desk.tell(ex.FillReport(by_hand(desk, Side.SELL, part, "9")))
    desk.accept_all()
    second = desk.placed(STOP)[-1]
    assert desk.book.cancelling >= {first.client_order_id}
    if not stored:
        desk.effects = [e for e in desk.effects if not isinstance(e, fx.StoreCancel)]
    again = desk.restart()
    again.effects.clear()
    fills = (by_hand(again, Side.BUY, back, "10"),) if back else ()
    read = reading(again, first.quantity - part + back, again.book.wallet or D(0), fills)
    resting = tuple(resting_of(o) for o in again.book.live_orders())
    again.tell(replace(read, snapshot=replace(read.snapshot, open_orders=resting), cause=START))
    return again, first, second


def cancelled(desk: Desk) -> set[str]:
    """Client ids of the stops whose cancel was sent."""
    sent = (e.order for e in desk.effects if isinstance(e, fx.Cancel))
    return {o.client_order_id for o in sent if o.purpose is STOP}


def surely_covered(desk: Desk, away: set[str]) -> bool:
    """Tell whether a stop for all that is held rests besides those that may be cancelled."""
    held = desk.book.positions["BTCUSDT"]
    return any(
        o.remaining >= held.quantity
        for o in desk.book.orders_of(held.position_id, STOP)
        if o.state in LIVE_ON_EXCHANGE and o.client_order_id not in away
    )


@given(part=st.integers(1, 9), back=st.integers(0, 9))
def test_a_stop_that_a_dead_replica_was_cancelling_stands_in_for_nothing(
    part: int, back: int
) -> None:
    """Incident 10: its cancel arrives after the stops that it stood in for were cancelled."""
    desk, first, _ = died_cancelling(Desk(), D(part) / 1000, D(min(part, back)) / 1000)
    for _ in range(3):
        away = {*cancelled(desk), first.client_order_id}
        assert surely_covered(desk, away) or not cancelled(desk) - {first.client_order_id}
        desk.accept_all()
        desk.tell(inputs.Tick())
    assert surely_covered(desk, {*cancelled(desk), first.client_order_id})
    desk.tell(report(first, OrderState.CANCELED))
    assert surely_covered(desk, cancelled(desk))


def test_a_stop_is_placed_when_a_cancel_arrives_that_nobody_has_stored() -> None:
    """Incident 12: one that was sent without a store, and forgotten with its sender."""
    part = D("0.005")
    desk, first, second = died_cancelling(Desk(), part, part, stored=False)
    assert second.client_order_id in cancelled(desk), "the first one is taken for sure"
    desk.tell(report(second, OrderState.CANCELED))
    assert not desk.placed(STOP)
    desk.tell(report(first, OrderState.CANCELED))
    (stop,) = desk.placed(STOP)
    assert stop.quantity == desk.book.positions["BTCUSDT"].quantity
    assert stop.client_order_id not in (first.client_order_id, second.client_order_id)


def test_a_cancel_is_known_until_its_order_has_ended() -> None:
    desk, first, _ = died_cancelling(Desk(), D("0.005"), D(0))
    assert desk.book.leaving >= {first.client_order_id}
    desk.tell(inputs.CancelAnswered(first.client_order_id, ex.Accepted(report(first))))
    desk.tell(report(first, OrderState.CANCELED))
    assert first.client_order_id not in desk.book.leaving
