"""Defects that seeds of the simulation found: what a reading of the exchange proves."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.reconciling.differences import differences
from services.exec_risk.core.reconciling.reconcile import VERIFY, VERIFY_AGAIN
from services.trade.order import OrderPurpose, OrderState, Side
from services.trade.times import DAY_MS
from tests.unit.exec_risk.account_desk import MINUTE, SYMBOLS, Desk, signal_of
from tests.unit.exec_risk.exchange_readings import by_hand, reading

D = Decimal


def test_a_reading_older_than_a_fill_does_not_overwrite_the_wallet() -> None:
    """Incident 86: the requests of one reading are answered at different moments."""
    desk = Desk()
    before = desk.book.wallet or D(0)
    entry = desk.open()
    after = desk.book.wallet
    for _ in range(2):
        desk.tell(reading(desk, entry.quantity, before))
        assert desk.book.wallet == after, "both may be from before the fill, however often"
    desk.time += MINUTE
    desk.tell(reading(desk, entry.quantity, D(5)))
    assert any(isinstance(e, fx.Reconcile) and "wallet" in e.cause for e in desk.effects)
    desk.tell(reading(desk, entry.quantity, after or D(0)))
    desk.tell(reading(desk, entry.quantity, D(5)))
    assert desk.book.wallet == after
    desk.tell(reading(desk, entry.quantity, D(5)))
    assert desk.book.wallet == D(5), "two later readings that agree are the truth"


def test_a_fill_that_is_newer_than_the_first_reading_of_an_account_applies() -> None:
    """Incident 82: only what the first reading of the account knows is history."""
    desk = Desk()
    desk.book.wallet = None
    old = by_hand(desk, Side.BUY, D(1), "1")
    new = replace(by_hand(desk, Side.BUY, D(2), "2"), time=desk.time + MINUTE)
    desk.tell(reading(desk, D(0), D(10_000), (old, new)))
    assert desk.book.positions["BTCUSDT"].quantity == D(2)
    assert desk.book.wallet == D(10_000) - new.commission


def test_no_entry_while_a_position_differs_from_the_exchanges() -> None:
    desk = Desk(Policy(cooldown_ms=0))
    desk.tell(reading(desk, D(3), desk.book.wallet or D(0)))
    assert "BTCUSDT" in desk.book.drift
    desk.round(*(signal_of(s, Side.BUY, desk.time) for s in SYMBOLS))
    entered = {o.symbol for o in desk.placed(OrderPurpose.ENTRY)}
    assert entered == set(SYMBOLS) - {"BTCUSDT"}
    assert all(o.state is not OrderState.FILLED for o in desk.placed())


def test_no_entry_while_an_order_that_nobody_stored_is_still_to_go() -> None:
    """Incident 10: a forgotten target that still rests would close what is entered beside it."""
    desk = Desk(Policy(cooldown_ms=0))
    stray = ex.OrderReport(
        "qtt0-forgotten", "1", "BTCUSDT", Side.SELL, OrderState.ACCEPTED, D(1), D(0), None,
        desk.time, reduce_only=True, conditional=True, trigger_price=D(110),
    )  # fmt: skip
    empty = reading(desk, D(0), desk.book.wallet or D(0))
    desk.tell(replace(empty, snapshot=replace(empty.snapshot, open_orders=(stray,))))
    assert stray.client_order_id in desk.book.cancelling
    desk.round(*(signal_of(s, Side.BUY, desk.time) for s in SYMBOLS))
    assert {o.symbol for o in desk.placed(OrderPurpose.ENTRY)} == set(SYMBOLS) - {"BTCUSDT"}
    desk.tell(replace(stray, state=OrderState.CANCELED))
    desk.time += MINUTE
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    assert desk.placed(OrderPurpose.ENTRY)[-1].symbol == "BTCUSDT"


def test_two_readings_from_before_a_fill_prove_nothing_after_it() -> None:
    """Incident 85: what was opened and closed between two readings was booked as a difference."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    doubt = replace(reading(desk, entry.quantity, D(10_000)), cause="verify")
    desk.tell(doubt)
    desk.fill(entry)
    desk.accept_all()
    desk.fill(desk.placed(OrderPurpose.STOP_LOSS)[-1])
    assert not desk.book.positions
    desk.tell(replace(doubt, cause="verify again"))
    assert not desk.book.positions
    repairs = [e.kind for e in desk.effects if isinstance(e, fx.ReconcileRepaired)]
    assert "position_drift" not in repairs


def test_a_difference_is_booked_only_when_two_readings_show_it() -> None:
    """A reading may be older than a fill, so one alone proves nothing."""
    desk = Desk()
    desk.open()
    held = desk.book.positions["BTCUSDT"].quantity
    account = ex.AccountReport(desk.book.wallet or D(0), D(0), desk.time, ())
    flat = ex.ExchangeSnapshot(account, (), ())
    desk.tell(inputs.SnapshotRead(flat, "test"))
    assert desk.book.positions["BTCUSDT"].quantity == held
    desk.tell(inputs.SnapshotRead(flat, "test"))
    assert "BTCUSDT" not in desk.book.positions


def test_fills_that_explain_a_doubt_do_not_confirm_another_one() -> None:
    """Incident 82: a second reading told of entry and end, and held what was between them."""
    desk = Desk()
    wallet = desk.book.wallet or D(0)
    entered, left = by_hand(desk, Side.BUY, D(3), "1"), by_hand(desk, Side.SELL, D(3), "2")
    desk.time += MINUTE
    for fills, cause in (((entered,), VERIFY), ((entered, left), VERIFY_AGAIN)):
        found = desk.tell(replace(reading(desk, D(3), wallet, fills), cause=cause))
    assert {e.fill.trade_id for e in found if isinstance(e, fx.FillRecorded)} == {"1", "2"}
    assert fx.Reconcile("position differs") in found
    desk.tell(reading(desk, D(0), wallet, (entered, left)))
    assert not desk.book.positions and not desk.book.drift


def test_an_order_that_nobody_stored_ends_though_it_filled_before_it_was_found() -> None:
    """Incident 10: its end announced a fill that was booked already, and it was waited for."""
    desk = Desk(Policy(cooldown_ms=0))
    desk.open()
    held = desk.book.positions["BTCUSDT"].quantity
    part = replace(by_hand(desk, Side.SELL, held, "9"), client_order_id="qts2-forgotten")
    found = ex.OrderReport(
        "qts2-forgotten", "1", "BTCUSDT", Side.SELL, OrderState.ACCEPTED, 2 * held, D(0), None,
        desk.time, reduce_only=True, conditional=True, trigger_price=D(99),
    )  # fmt: skip
    told = reading(desk, D(0), desk.book.wallet or D(0), (part,))
    desk.tell(replace(told, snapshot=replace(told.snapshot, open_orders=(found,))))
    assert not desk.book.positions
    desk.tell(replace(found, state=OrderState.EXPIRED, filled_quantity=held))
    assert desk.book.orders["qts2-forgotten"].state is OrderState.EXPIRED
    assert desk.book.orders["qts2-forgotten"].filled_quantity == held


@pytest.mark.parametrize("days", [1, 3, 30])
def test_what_a_reading_tells_again_is_recognised_however_far_the_market_went(days: int) -> None:
    """Incident 82: fills were forgotten after two days, and told again since the last reading."""
    desk = Desk()
    desk.tell(reading(desk, D(0), desk.book.wallet or D(0)))
    told = tuple(by_hand(desk, side, D(3), str(n)) for n, side in enumerate(Side))
    for fill in told:
        desk.tell(ex.FillReport(fill))
    paid = ex.FundingReport("BTCUSDT", D(-1), desk.time, "f-1")
    desk.tell(paid)
    begun, after = desk.time, desk.book.wallet
    for _ in range(days):
        desk.time += DAY_MS
        desk.round()
    assert desk.book.unread_from() <= begun
    again = reading(desk, D(0), after or D(0), told)
    again = replace(again, snapshot=replace(again.snapshot, funding=(paid,)))
    assert not differences(desk.book, again.snapshot)
    assert not [e for e in desk.tell(again) if isinstance(e, fx.FillRecorded | fx.FundingPaid)]
    desk.time += DAY_MS
    desk.round()
    assert desk.book.unread_from() > begun, "what a reading has told is not asked for again"


def test_what_the_first_reading_holds_is_not_applied_again() -> None:
    """Incident 85: the commission of a fill from before was taken off the wallet twice."""
    desk = Desk()
    desk.book.wallet = None
    desk.tell(reading(desk, D(0), D(9_999)))
    before = by_hand(desk, Side.BUY, D(1), "1")
    desk.tell(ex.FillReport(before))
    again = reading(desk, D(0), D(9_999), (before,))
    desk.tell(again)
    assert desk.book.equity() == D(9_999) and not desk.book.positions
    assert not differences(desk.book, again.snapshot)
    desk.tell(ex.FillReport(replace(before, trade_id="2", time=desk.time + 1)))
    assert (desk.book.equity() or D(0)) < D(9_999)
