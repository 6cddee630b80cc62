"""Executions that a caller asks for, and their cancelling.

An order against an open position only ever makes it smaller, whatever was asked: it is executed as
far as it reduces and never turns the position around (incident 31). That holds in every trading
state, and no gate of entries is asked for it.
"""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core.effects import Answer, EntryPlan, StorePlan
from services.exec_risk.core.executions import executing
from services.exec_risk.core.executions.execution_plan import Wanted, execution_id, planned
from services.exec_risk.core.facts import RiskDecided
from services.exec_risk.core.inputs import CancelOrder, Signal, SubmitExecution
from services.exec_risk.core.orders import orders
from services.exec_risk.core.risk.entries import leverage_of
from services.exec_risk.core.risk.entry import Entry
from services.exec_risk.core.risk.sizing import Size
from services.exec_risk.core.rules import APPROVED, judge
from services.exec_risk.core.state import Book
from services.trade import ids
from services.trade.execution import Execution
from services.trade.order import OrderPurpose
from services.trade.position import Position, PositionSide

REDUCE_ONLY = "reduce_only"


def submit_execution(book: Book, command: SubmitExecution) -> None:
    """Execute what is asked for, or say which rule refuses it."""
    symbol = command.symbol
    known = book.executing.all.get(execution_id(book.policy.account, command.request_id))
    if known is not None:
        _approve(book, command, known, APPROVED, "begun before")
        return
    if symbol not in book.filters:
        text = f"{symbol} is not traded on {book.policy.venue}"
        book.emit(Answer(command.request_id, False, {"reason": text, "code": "SYMBOL_NOT_FOUND"}))
        return
    position = book.positions.get(symbol)
    against = position is not None and command.side is position.side.exit_side
    if command.reduce_only or against:
        _reduce(book, command, position)
    else:
        _enter(book, command)


def _reduce(book: Book, command: SubmitExecution, position: Position | None) -> None:
    if position is None:
        _refuse(book, command, REDUCE_ONLY, f"no position of {command.symbol} is open")
        return
    if command.side is position.side.entry_side:
        text = f"{command.side} makes the {position.side} position larger"
        _refuse(book, command, REDUCE_ONLY, text)
        return
    at_work = [e for e in book.executing.working if e.reduce_only and e.symbol == command.symbol]
    if at_work:
        text = f"execution {at_work[0].execution_id} is at work"
        _refuse(book, command, "order_pending", text)
        return
    for entering in book.executing.entering(command.symbol):
        executing.stop(book, entering, "an order in the other direction", "reduced")
    if position.exit_reason is not None:
        _refuse(book, command, REDUCE_ONLY, f"it is being closed: {position.exit_reason}")
        return
    filters, price = book.filters[command.symbol], book.mark(position)
    wanted = command.notional(price, position.leverage) / price
    if command.quantity is not None:
        wanted = command.quantity
    # all that is held is always allowed: a rest below the step's least would never close
    quantity = min(filters.floor_quantity(wanted), position.quantity)
    if quantity <= 0 or quantity < min(filters.min_quantity, position.quantity):
        _refuse(book, command, "filters", f"quantity {wanted} is below the exchange's least")
        return
    execution = planned(book, _wanted(command, quantity, position.position_id, reduce_only=True))
    executing.begin(book, execution)
    text = f"{command.side} {wanted} against {position.side} {position.quantity} reduces {quantity}"
    _approve(book, command, execution, REDUCE_ONLY, text)


def _enter(book: Book, command: SubmitExecution) -> None:
    entry = _entry(book, command)
    verdict = judge(entry)
    size = entry.size if verdict.approved else None
    decision = execution_id(book.policy.account, command.request_id)
    book.emit(
        RiskDecided(
            decision,
            command.symbol,
            verdict.approved,
            verdict.rule,
            verdict.reason,
            book.time,
            size.notional if size else None,
            size.quantity if size else None,
            entry.leverage if size else 0,
            command.trace_id,
        )
    )
    if size is None:
        _refuse(book, command, verdict.rule, verdict.reason)
        return
    execution = _begin_entry(book, command, entry, size)
    _approve(book, command, execution, verdict.rule, verdict.reason)


def _entry(book: Book, command: SubmitExecution) -> Entry:
    price = book.price(command.symbol) or Decimal(0)
    signal = Signal(
        signal_id=command.request_id,
        venue=book.policy.venue,
        symbol=command.symbol,
        timeframe=book.policy.timeframe,
        side=command.side,
        confidence=1.0,
        price=price,
        atr_fraction=Decimal(0),
        round_time=book.time,
        expires_at=book.time,
    )
    leverage = command.leverage or leverage_of(book, signal)
    return Entry(
        book,
        signal,
        book.time,
        leverage,
        notional=command.notional(price, leverage),
        strategy=command.strategy,
        max_slippage=command.max_slippage,
        stop_asked=command.stop_fraction,
        take_asked=command.take_fraction,
    )


def _begin_entry(book: Book, command: SubmitExecution, entry: Entry, size: Size) -> Execution:
    account = book.policy.account
    position_id = ids.position_id(account, execution_id(account, command.request_id))
    execution = planned(book, _wanted(command, size.quantity, position_id, reduce_only=False))
    plan = EntryPlan(
        position_id=position_id,
        symbol=command.symbol,
        side=PositionSide.opened_by(command.side),
        leverage=entry.leverage,
        stop_fraction=entry.stop_fraction,
        take_fraction=entry.take_fraction,
        price=entry.price,
        decided_time=book.time,
        confidence=entry.signal.confidence,
        trace_id=command.trace_id,
    )
    book.plans[position_id] = plan
    book.emit(StorePlan(plan))
    executing.begin(book, execution)
    return execution


def _wanted(
    command: SubmitExecution, quantity: Decimal, position_id: str, *, reduce_only: bool
) -> Wanted:
    return Wanted(
        decision=command.request_id,
        symbol=command.symbol,
        side=command.side,
        quantity=quantity,
        position_id=position_id,
        strategy=command.strategy,
        reduce_only=reduce_only,
        limit_price=command.limit_price,
        time_in_force=command.time_in_force,
        duration_ms=command.duration_ms,
        max_slippage=command.max_slippage,
    )


def _approve(
    book: Book, command: SubmitExecution, execution: Execution, rule: str, reason: str
) -> None:
    execution = book.executing.all[execution.execution_id]
    if execution.state.final and not execution.orders:
        _refuse(book, command, "filters", execution.reason)
        return
    result = {
        "approved": "true",
        "rule": rule,
        "reason": reason,
        "execution_id": execution.execution_id,
    }
    book.emit(Answer(command.request_id, True, result))


def _refuse(book: Book, command: SubmitExecution, rule: str, reason: str) -> None:
    result = {"approved": "false", "rule": rule, "reason": reason, "execution_id": ""}
    book.emit(Answer(command.request_id, True, result))


def cancel_order(book: Book, command: CancelOrder) -> None:
    """Cancel an order, or all that is left of its execution.

    What protects or closes a position is not cancelled: it would be placed again at once.
    """
    order = book.orders.get(command.client_order_id)
    if order is None:
        text = f"no order {command.client_order_id} is at work"
        book.emit(Answer(command.request_id, False, {"reason": text, "code": "NOT_FOUND"}))
        return
    execution = book.executing.all.get(order.execution_id)
    if execution is not None and not execution.state.final:
        executing.stop(book, execution, "cancelled by an operator", "canceled")
    elif not order.state.final and order.purpose is not OrderPurpose.ENTRY:
        text = f"{order.purpose} order of an open position; close the position instead"
        book.emit(Answer(command.request_id, False, {"reason": text, "code": "PROTECTS_POSITION"}))
        return
    elif not order.state.final:
        orders.cancel(book, order)
    book.emit(Answer(command.request_id, True, {"client_order_id": command.client_order_id}))
