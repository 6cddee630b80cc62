"""What operators ask of the account."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core.effects import Answer
from services.exec_risk.core.facts import TradingStateChanged
from services.exec_risk.core.inputs import (
    ClosePosition,
    SetTradingState,
    Signal,
    SwitchesRead,
    ValidateEntry,
)
from services.exec_risk.core.protection import guard
from services.exec_risk.core.risk.entries import leverage_of
from services.exec_risk.core.risk.entry import Entry
from services.exec_risk.core.rules import judge
from services.exec_risk.core.state import Book
from services.trade.position import ExitReason, TradingState


def set_trading_state(book: Book, command: SetTradingState) -> None:
    """Move the account's switch. It holds from now on and over restarts.

    A latched account stays HALTED: the emergency stop is to be reset first.
    """
    if book.latch is not None and command.state is not TradingState.HALTED:
        reason = "an emergency stop is latched; reset it first"
        book.emit(Answer(command.request_id, False, {"reason": reason, "code": "LATCHED"}))
        return
    previous = book.trading_state
    book.trading_state = command.state
    if previous is not command.state:
        book.emit(
            TradingStateChanged(
                previous,
                command.state,
                command.reason,
                command.changed_by,
                book.time,
                command.request_id,
            )
        )
        book.store_account()
    book.emit(
        Answer(command.request_id, True, {"previous": str(previous), "state": str(command.state)})
    )


def take_switches(book: Book, read: SwitchesRead) -> None:
    """Follow a switch that was moved in the database itself, for example by an operator's SQL."""
    previous = book.trading_state
    if read.trading_state is previous or read.instead_of is not previous:
        return
    book.trading_state = read.trading_state
    book.emit(
        TradingStateChanged(
            previous, read.trading_state, "found in the database", "database", book.time
        )
    )
    book.store_account()


def close_position(book: Book, command: ClosePosition) -> None:
    """Close a position at market; no gate is asked."""
    position = book.positions.get(command.symbol)
    if position is None:
        reason = f"no open position of {command.symbol}"
        book.emit(Answer(command.request_id, False, {"reason": reason, "code": "NOT_FOUND"}))
        return
    book.exit_hold.discard(position.position_id)
    order = guard.close(book, position, ExitReason.MANUAL, "asked by an operator")
    name = order.client_order_id if order else ""
    book.emit(Answer(command.request_id, True, {"client_order_id": name}))


def validate_entry(book: Book, command: ValidateEntry) -> None:
    """Say what the rules would say of an entry now; nothing is ordered."""
    signal = Signal(
        signal_id="validate",
        venue=book.policy.venue,
        symbol=command.symbol,
        timeframe=book.policy.timeframe,
        side=command.side,
        confidence=1.0,
        price=book.price(command.symbol) or Decimal(0),
        atr_fraction=Decimal(0),
        round_time=book.time,
        expires_at=book.time,
    )
    leverage = command.leverage or leverage_of(book, signal)
    verdict = judge(Entry(book, signal, book.time, leverage, notional=command.size_usd))
    book.emit(
        Answer(
            command.request_id,
            True,
            {
                "approved": str(verdict.approved).lower(),
                "rule": verdict.rule,
                "reason": verdict.reason,
            },
        )
    )
