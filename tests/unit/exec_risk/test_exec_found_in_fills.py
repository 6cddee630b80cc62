"""Defects that seeds of the simulation found: what a fill does to orders and positions."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core import inputs
from services.trade.order import OrderPurpose, Side
from services.trade.position import ExitReason
from tests.unit.exec_risk.account_desk import Desk, fill_of, signal_of
from tests.unit.exec_risk.exchange_readings import by_hand, reading

D = Decimal


def test_an_exit_covers_what_its_entry_fills_on() -> None:
    """Incident 10: an exit is sized for what is held, and what enters later is left, too."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    part = entry.quantity - D("0.010")
    desk.fill(entry, part)
    desk.accept_all()
    desk.tell(inputs.ClosePosition("ask", "BTCUSDT"))
    assert entry.client_order_id in {
        e.order.client_order_id for e in desk.effects if isinstance(e, fx.Cancel)
    }
    desk.accept(desk.placed(OrderPurpose.EXIT)[-1])
    desk.fill(entry, D("0.010"))
    exits = desk.placed(OrderPurpose.EXIT)
    assert [o.quantity for o in exits] == [part, D("0.010")]
    desk.fill(exits[0])
    desk.fill(exits[1])
    assert not desk.book.positions


def test_fills_of_one_millisecond_that_were_missed_apply_entries_first() -> None:
    """Incident 82: an exit that is read before its entry must not close half and reopen."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    half = entry.quantity - D("0.010")
    desk.fill(entry, half)
    desk.accept_all()
    stop = desk.placed(OrderPurpose.STOP_LOSS)[-1]
    again = fill_of(entry, D("0.010"), D(100), "10", desk.time, D(0))
    out = fill_of(stop, stop.quantity, D(99), "9", desk.time, D(0))
    wallet = desk.book.wallet or D(0)
    desk.tell(reading(desk, D("0.010"), wallet, (out, again)))
    assert desk.book.positions["BTCUSDT"].quantity == D("0.010")
    assert not desk.of(fx.PositionClosed)


def test_what_fills_after_the_close_never_begins_an_old_version_anew() -> None:
    """Incident 12: a position under a known id with a lower version is one that no store takes."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.BUY, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    part = entry.quantity - D("0.010")
    desk.fill(entry, part)
    desk.accept_all()
    desk.fill(desk.placed(OrderPurpose.STOP_LOSS)[-1])
    closed = desk.of(fx.PositionClosed)[-1]
    assert isinstance(closed, fx.PositionClosed)
    desk.fill(entry, D("0.010"))
    position = desk.book.positions["BTCUSDT"]
    again = position.position_id == closed.position.position_id
    assert not again or position.version > closed.position.version
    assert position.quantity == D("0.010") and position.open


def test_a_fill_that_turns_a_position_round_is_two_fills() -> None:
    """Incident 85: both positions add up from their own fills, commission to the digit."""
    desk = Desk()
    entry = desk.open()
    turn = by_hand(desk, Side.SELL, entry.quantity * 3, "77", commission="0.10000001")
    desk.tell(ex.FillReport(turn))
    desk.tell(ex.FillReport(turn))
    parts = [e for e in desk.effects if isinstance(e, fx.FillRecorded) and "77" in e.fill.trade_id]
    assert [p.fill.trade_id for p in parts] == ["77", "77.rest"]
    assert [p.purpose for p in parts] == [OrderPurpose.EXIT, OrderPurpose.ENTRY]
    assert sum((p.fill.quantity for p in parts), D(0)) == turn.quantity
    assert sum((p.fill.commission for p in parts), D(0)) == turn.commission
    closed = desk.of(fx.PositionClosed)[-1]
    assert isinstance(closed, fx.PositionClosed)
    assert parts[0].position_id == closed.position.position_id != parts[1].position_id
    assert closed.position.exit_reason is ExitReason.MANUAL
    assert desk.book.positions["BTCUSDT"].quantity == entry.quantity * 2


def test_an_entry_that_closes_what_a_person_opened_is_booked_as_its_exit() -> None:
    """Incident 81: what a fill does counts, not what its order was for."""
    desk = Desk()
    desk.round(signal_of("BTCUSDT", Side.SELL, desk.time))
    entry = desk.placed(OrderPurpose.ENTRY)[-1]
    desk.accept(entry)
    desk.tell(ex.FillReport(by_hand(desk, Side.BUY, entry.quantity, "5")))
    desk.fill(entry)
    booked = [e for e in desk.effects if isinstance(e, fx.FillRecorded)]
    assert [b.purpose for b in booked] == [OrderPurpose.ENTRY, OrderPurpose.EXIT]
    assert booked[0].position_id == booked[1].position_id


def test_an_entry_that_fills_at_the_time_of_the_first_reading_is_news() -> None:
    """Incident 22: a close and the open after it are one market time."""
    desk = Desk()
    desk.book.wallet = None
    desk.tell(reading(desk, D(0), D(10_000)))
    entry = desk.open()
    assert desk.book.positions["BTCUSDT"].quantity == entry.quantity
