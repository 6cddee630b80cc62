"""The emergency stop: flat, no open orders, no entries, until a person resets it.

The latch is part of the book, so it is stored with everything else and holds over restarts. While
it is set, every step ends with a sweep: whatever was opened or is on its way after the stop, for
example by a late fill, is closed too.
"""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core import isolation
from services.exec_risk.core.effects import Answer
from services.exec_risk.core.facts import (
    EmergencyReset,
    EmergencyStopped,
    Latch,
    TradingStateChanged,
)
from services.exec_risk.core.inputs import EmergencyStop, ResetEmergency
from services.exec_risk.core.orders import orders
from services.exec_risk.core.orders.order_kinds import LIVE_ON_EXCHANGE
from services.exec_risk.core.protection import guard
from services.exec_risk.core.state import Book
from services.trade.order import OrderState
from services.trade.position import ExitReason, TradingState

EMERGENCY, CRITICAL = "EMERGENCY", "CRITICAL"
"""Severities: pulled by a person, pulled by a limit."""
EQUITY_DRAWDOWN = "equity_drawdown"
"""Rule that pulls the stop by itself."""


def stop(book: Book, command: EmergencyStop) -> None:
    """Latch and flatten. A stop that is latched already is flattened again and stays the first."""
    pull(book, command.reason, command.by, EMERGENCY, command.request_id)
    if command.request_id:
        result = {
            "latched": "true",
            "positions_closing": str(len(book.positions)),
            "orders_cancelling": str(_open_entries(book)),
        }
        book.emit(Answer(command.request_id, True, result))


def pull(book: Book, reason: str, by: str, severity: str, request_id: str = "") -> None:
    """Set the latch, once, and begin to flatten."""
    if book.latch is None:
        book.latch = Latch(reason, by, book.time, request_id)
        drawdown = book.drawdown()
        book.emit(EmergencyStopped(book.latch, severity, len(book.positions), drawdown))
        text = f"emergency stop by {by}: {reason}"
        book.alert("CRITICAL", "EMERGENCY_STOP", text, action="EMERGENCY_STOP")
        _halt(book, f"emergency stop: {reason}", by, f"{request_id}.{book.time}.stop")
        book.store_account()
    book.exit_hold.clear()
    sweep(book)


def sweep(book: Book) -> None:
    """Close every position that is open and cancel every entry order that is on its way.

    A protective stop rests until its position is closed. An order whose outcome is not known yet
    is left until it is: the sweep after its answer finds it.
    """
    for order in book.orders.entries:
        if order.state is OrderState.INTENT:
            orders.move(book, order, OrderState.CANCELED, "emergency_stop")
        elif order.state in LIVE_ON_EXCHANGE:
            orders.cancel(book, order)
    isolation.each(book, sorted(book.positions), _close)


def _close(book: Book, symbol: str) -> None:
    position = book.positions[symbol]
    if position.exit_reason is None:
        guard.close(book, position, ExitReason.EMERGENCY_STOP, "emergency stop")


def note_peak(book: Book) -> None:
    """Take the equity as the highest one when it is."""
    equity = book.equity()
    if equity is not None and (book.high_water is None or equity > book.high_water):
        book.high_water = equity


def watch(book: Book) -> None:
    """Pull the stop when too much of the highest equity is lost."""
    drawdown, limit = book.drawdown(), book.policy.risk.emergency_drawdown
    if book.latch is None and drawdown is not None and drawdown >= limit:
        reason = f"equity {book.equity()} is {drawdown:.4f} below {book.high_water}, limit {limit}"
        pull(book, reason, EQUITY_DRAWDOWN, CRITICAL)


def moved(book: Book, amount: Decimal) -> None:
    """Learn that money was brought or taken away: neither profit nor loss."""
    today = book.day(book.time)
    if today.start_equity is not None:
        today.start_equity += amount
        book.store_day(today)
    if book.high_water is not None:
        book.high_water += amount
    book.store_account()


def reset(book: Book, command: ResetEmergency) -> None:
    """Release the latch; the account stays HALTED until a person makes it ACTIVE."""
    if book.latch is None:
        result = {"reason": "no emergency stop is latched", "code": "NOT_LATCHED"}
        book.emit(Answer(command.request_id, False, result))
        return
    open_now = sorted(book.positions)
    if open_now or _open_entries(book):
        what = ", ".join(open_now) or "an entry order"
        reason = f"{what} is not closed yet; the latch holds until the account is flat"
        book.emit(Answer(command.request_id, False, {"reason": reason, "code": "NOT_FLAT"}))
        return
    pulled, book.latch = book.latch, None
    book.high_water = book.equity()
    book.emit(EmergencyReset(pulled, command.reason, command.by, book.time, command.request_id))
    _halt(book, f"emergency reset: {command.reason}", command.by, f"{command.request_id}.reset")
    book.store_account()
    book.emit(Answer(command.request_id, True, {"state": str(book.trading_state)}))


def _open_entries(book: Book) -> int:
    return len(book.orders.entries)


def _halt(book: Book, reason: str, by: str, request_id: str) -> None:
    previous = book.trading_state
    if previous is not TradingState.HALTED:
        book.trading_state = TradingState.HALTED
        book.emit(
            TradingStateChanged(previous, TradingState.HALTED, reason, by, book.time, request_id)
        )
