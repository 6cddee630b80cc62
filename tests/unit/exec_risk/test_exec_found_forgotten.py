"""Defects that seeds of the simulation found: what was sent without a store and forgotten."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.trade.order import Fill, Order, OrderPurpose, Side
from tests.unit.exec_risk.account_desk import Desk, signal_of
from tests.unit.exec_risk.exchange_readings import by_hand, resting_of

D = Decimal


@pytest.mark.parametrize("purpose", [OrderPurpose.EXIT, OrderPurpose.STOP_LOSS])
def test_what_was_sent_without_a_store_and_forgotten_is_taken_over(purpose: OrderPurpose) -> None:
    """Incident 7: its id is not used again, and it is not cancelled: it protects or closes."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    before = desk.restart()
    desk.fill(entry)
    if purpose is OrderPurpose.EXIT:
        desk.accept_all()
        before = desk.restart()
        desk.tell(inputs.ClosePosition("ask", "BTCUSDT"))
    else:
        fill = next(e.fill for e in desk.effects if isinstance(e, fx.FillRecorded))
    sent = desk.placed(purpose)[-1]
    resting = (*map(resting_of, before.book.live_orders()), resting_of(sent))
    held = (ex.ExchangePosition("BTCUSDT", entry.quantity, D(100), D(100), D(0)),)
    account = ex.AccountReport(D(10_000), D(10_000), desk.time, held)
    fills = () if purpose is OrderPurpose.EXIT else (fill,)
    before.effects.clear()
    reading_ = ex.ExchangeSnapshot(account, resting, fills)
    before.tell(inputs.SnapshotRead(reading_, "start"))
    before.accept_all()
    before.tell(inputs.SnapshotRead(reading_, "start"))
    if purpose is OrderPurpose.EXIT:
        found = before.book.orders[sent.client_order_id]
        assert (found.purpose, found.position_id) == (purpose, sent.position_id)
        before.tell(inputs.ClosePosition("ask", "BTCUSDT"))
        assert not before.placed(OrderPurpose.EXIT), "one exit for all that is held"
        assert not before.of(fx.Cancel)
    stored: dict[str, Order] = {}
    for changed in before.of(fx.OrderChanged):
        assert isinstance(changed, fx.OrderChanged)
        known = stored.get(changed.order.client_order_id)
        assert known is None or changed.previous is not None, "an id is used once"
        stored[changed.order.client_order_id] = changed.order
    assert all(p.position_id for p in before.book.live_orders())


def forgotten(desk: Desk) -> tuple[Desk, Order, list[Order], tuple[Fill, ...]]:
    """An entry fills in two parts without a store; return who forgot it, entry, stops and fills."""
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    before = desk.restart()
    before.effects.clear()
    desk.fill(entry, D("0.010"))
    desk.accept_all()
    desk.fill(entry, entry.quantity - D("0.010"))
    fills = tuple(e.fill for e in desk.effects if isinstance(e, fx.FillRecorded))
    return before, entry, desk.placed(OrderPurpose.STOP_LOSS), fills


def test_an_id_that_was_sent_without_a_store_and_has_ended_is_not_used_again() -> None:
    """Incident 7: the last stop rests, and so the ones before it have used up their ids."""
    before, entry, (first, last), fills = forgotten(Desk())
    held = (ex.ExchangePosition("BTCUSDT", entry.quantity, D(100), D(100), D(0)),)
    account = ex.AccountReport(D(10_000), D(10_000), before.time, held)
    reading_ = ex.ExchangeSnapshot(account, (resting_of(last),), fills)
    before.tell(inputs.SnapshotRead(reading_, "start"))
    assert before.book.positions["BTCUSDT"].quantity == entry.quantity
    assert before.book.orders[last.client_order_id].purpose is OrderPurpose.STOP_LOSS
    assert first.client_order_id not in {o.client_order_id for o in before.placed()}


def test_what_the_history_has_closed_already_is_not_protected_any_more() -> None:
    """Incident 7: a dead replica may have used up the ids of what it sent for it."""
    before, entry, _, fills = forgotten(Desk())
    left = replace(by_hand(before, Side.SELL, entry.quantity, "9"), time=before.time + 1)
    account = ex.AccountReport(D(10_000), D(10_000), before.time + 1, ())
    reading_ = ex.ExchangeSnapshot(account, (), (*fills, left))
    before.tell(inputs.SnapshotRead(reading_, "start"))
    assert not before.book.positions
    assert not before.placed()
    assert not [o for o in before.book.live_orders() if o.reduce_only]
