"""What the end of an order means for its execution: going on, pausing, or giving up."""

from __future__ import annotations

from services.exec_risk.core.actions import Reconcile
from services.exec_risk.core.exchange_events import Refused
from services.exec_risk.core.executions import execution_life as life
from services.exec_risk.core.executions.execution_changes import enter, fail, keep
from services.exec_risk.core.executions.strategies.steps import resting
from services.exec_risk.core.orders.order_kinds import LIVE_ON_EXCHANGE
from services.exec_risk.core.state import Book
from services.trade.execution import Execution, ExecutionPhase
from services.trade.order import Order, OrderPurpose, OrderState, OrderType, TimeInForce

POST_ONLY = "-5022"
NO_POSITION = "-2022"


def refused(book: Book, order: Order, refusal: Refused) -> None:
    """Go on after the exchange has proven that it refused an order of an execution.

    The same quantity is asked for again only where that can cure it: later when the refusal is
    retryable, a tick further from the market when a post-only order would have taken.
    """
    execution = book.executing.all.get(order.execution_id)
    if execution is None or execution.state.final:
        return
    now = book.time
    refusals = execution.refusals + 1
    execution = life.changed(execution, time=now, child="", withdrawing=False, refusals=refusals)
    text = f"{refusal.code} {refusal.message}".strip()
    policy = book.policy
    if refusal.code == POST_ONLY and order.time_in_force is TimeInForce.GTX:
        keep(book, execution, "post_only_refused")
        if refusals >= policy.execution.post_only_attempts:
            reason = f"no post-only price was taken: {text}"
            _stop(book, execution, reason, "post_only_refused")
    elif refusal.retryable and refusals < policy.retry_attempts and execution.sends:
        pause = policy.execution.backoff_ms * 2 ** (refusals - 1)
        keep(book, life.changed(execution, time=now, next_time=now + pause), "refused")
    else:
        keep(book, execution, "refused")
        fail(book, execution, text)
        _tell_refusal(book, order, text)
    if refusal.code == NO_POSITION:
        book.emit(Reconcile(f"{order.client_order_id} refused: no position to reduce"))


def _tell_refusal(book: Book, order: Order, text: str) -> None:
    if order.purpose is OrderPurpose.ENTRY:
        message = f"entry of {order.symbol} was refused: {text}"
        book.alert("LOW", "ENTRY_REFUSED", message, symbol=order.symbol)
    else:
        message = f"exit of {order.symbol} was refused: {text}"
        book.alert("HIGH", "EXIT_REFUSED", message, symbol=order.symbol)


def judged(book: Book, execution: Execution) -> Execution:
    """Take note of the end of the order that was last made."""
    order = book.orders.get(execution.child)
    if order is None or execution.state.final:
        return execution
    if not order.state.final:
        if execution.refusals and order.state in LIVE_ON_EXCHANGE and not _post_only(order):
            execution = keep(book, life.changed(execution, time=book.time, refusals=0), "taken")
        return execution
    withdrawn = execution.withdrawing
    refusals = 0 if order.filled_quantity else execution.refusals
    execution = life.changed(
        execution, time=book.time, child="", withdrawing=False, refusals=refusals
    )
    keep(book, execution, "order_ended")
    if not execution.sends:
        return execution
    if order.state is OrderState.REJECTED:
        return fail(book, execution, order.reason)
    if order.state is OrderState.CANCELED and not withdrawn:
        return _canceled_by_others(book, execution, order)
    if order.state is OrderState.EXPIRED:
        return _expired(book, execution, order)
    return execution


def _canceled_by_others(book: Book, execution: Execution, order: Order) -> Execution:
    if not order.exchange_order_id:
        return fail(book, execution, order.reason)
    reason = "its order was cancelled at the exchange"
    return enter(book, execution, ExecutionPhase.STOPPING, reason, "order_canceled")


def _expired(book: Book, execution: Execution, order: Order) -> Execution:
    """An order ended by itself: IOC as it should, post-only because it would have taken."""
    if _post_only(order):
        refusals = execution.refusals + 1
        changed = life.changed(execution, time=book.time, refusals=refusals)
        execution = keep(book, changed, "post_only_expired")
        if refusals < book.policy.execution.post_only_attempts:
            return execution
        reason = "no post-only price was taken"
        return enter(book, execution, ExecutionPhase.STOPPING, reason, "post_only_expired")
    at_once = order.type is OrderType.LIMIT and not resting(order)
    if at_once or order.filled_quantity:
        return execution
    return fail(book, execution, order.reason or "the exchange let its order expire")


def _post_only(order: Order) -> bool:
    return order.time_in_force is TimeInForce.GTX


def _stop(book: Book, execution: Execution, reason: str, cause: str) -> None:
    if execution.sends:
        enter(book, execution, ExecutionPhase.STOPPING, reason, cause)
