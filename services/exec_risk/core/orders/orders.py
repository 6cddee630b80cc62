"""Making, moving and reporting orders inside the book."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core.actions import Cancel, Place, Resolve
from services.exec_risk.core.effects import StoreCancel
from services.exec_risk.core.exchange_events import OrderReport
from services.exec_risk.core.facts import ExecutionResult, OrderChanged
from services.exec_risk.core.orders import lifecycle
from services.exec_risk.core.state import Book
from services.trade import ids
from services.trade.order import (
    Order,
    OrderPurpose,
    OrderState,
    OrderType,
    Side,
    TimeInForce,
)
from services.trade.values import with_values

LEGS = {
    OrderPurpose.ENTRY: "entry",
    OrderPurpose.STOP_LOSS: "stop",
    OrderPurpose.TAKE_PROFIT: "target",
    OrderPurpose.EXIT: "exit",
}


def create(
    book: Book,
    *,
    symbol: str,
    side: Side,
    kind: OrderType,
    purpose: OrderPurpose,
    quantity: Decimal,
    position_id: str,
    signal_id: str = "",
    price: Decimal | None = None,
    trigger_price: Decimal | None = None,
    time_in_force: TimeInForce | None = None,
    execution_id: str = "",
    reason: str = "",
    send: bool = True,
) -> Order:
    """Store a new order and, with `send`, ask for its placing in the same step.

    The client order id is derived from the decision and the order's number among its kind.
    """
    decision = execution_id or position_id
    if purpose is OrderPurpose.ENTRY and signal_id:
        decision = signal_id
    order = Order(
        client_order_id=_next_id(book, position_id, purpose, decision),
        account=book.policy.account,
        symbol=symbol,
        side=side,
        type=kind,
        purpose=purpose,
        quantity=quantity,
        decided_time=book.time,
        updated_time=book.time,
        state=OrderState.SUBMITTED if send else OrderState.INTENT,
        price=price,
        trigger_price=trigger_price,
        time_in_force=time_in_force,
        execution_id=execution_id,
        signal_id=signal_id,
        position_id=position_id,
        reason=reason,
    )
    book.orders[order.client_order_id] = order
    book.emit(OrderChanged(order, None, "decided", book.trace(position_id)))
    if send:
        book.emit(Place(order))
    return order


def _next_id(book: Book, position_id: str, purpose: OrderPurpose, decision: str) -> str:
    """Return an id that no known order has: one may have been found on the exchange."""
    number = book.counts.get((position_id, purpose), 0)
    while True:
        found = ids.client_order_id(book.policy.account, decision, LEGS[purpose], number)
        number += 1
        if found not in book.orders:
            book.counts[position_id, purpose] = number
            return found


def move(book: Book, order: Order, target: OrderState, cause: str, *, reason: str = "") -> Order:
    """Take a legal step, report it, and tell the result of a finished entry or exit."""
    changed = lifecycle.advance(order, target, time=book.time, reason=reason)
    keep(book, order, changed, cause)
    return changed


def keep(book: Book, before: Order, after: Order, cause: str) -> None:
    """Put a changed order into the book and report it."""
    book.orders[after.client_order_id] = after
    trace = book.trace(after.position_id)
    book.emit(OrderChanged(after, before.state, cause, trace))
    if after.state.final:
        book.cancelling.discard(after.client_order_id)
        book.unanswered.discard(after.client_order_id)
        book.leaving.discard(after.client_order_id)
        book.announced.pop(after.client_order_id, None)
        executed = after.purpose in (OrderPurpose.ENTRY, OrderPurpose.EXIT)
        if executed and not before.state.final:
            book.emit(_result(book, after, trace))


def submit(book: Book, order: Order) -> None:
    """Allow the sending of an order that was only an intent."""
    sent = move(book, order, OrderState.SUBMITTED, "leverage_confirmed")
    book.emit(Place(sent))


def lost(book: Book, order: Order, reason: str) -> None:
    """Mark the outcome as not known and ask for it."""
    if lifecycle.allowed(order.state, OrderState.UNKNOWN):
        order = move(book, order, OrderState.UNKNOWN, "outcome_unknown", reason=reason)
    book.emit(Resolve(order))


def cancel(book: Book, order: Order) -> None:
    """Ask for the cancel of a live order, once at a time, and not when its end was told."""
    name, told = order.client_order_id, book.announced.get(order.client_order_id)
    if order.state.final or name in book.cancelling or name in book.unanswered:
        return
    if told is not None and told.state.final:
        return  # it is refused for sure, until the fills that the end announces have come
    book.cancelling.add(name)
    book.unanswered.add(name)
    book.emit(StoreCancel(order.client_order_id))
    book.emit(Cancel(order))


def cancel_not_confirmed(book: Book, order: Order, *, may_arrive: bool) -> None:
    """Ask for an order whose cancel was refused, or has no answer and may still arrive."""
    book.cancelling.discard(order.client_order_id)
    book.unanswered.add(order.client_order_id)
    if may_arrive:
        book.leaving.add(order.client_order_id)
    lost(book, order, "cancel was not confirmed")


def goes(book: Book, order: Order) -> bool:
    """Tell whether its cancel is on its way, or may be: one without an answer can come late."""
    name = order.client_order_id
    return name in book.cancelling or name in book.leaving


def still_there(book: Book, order: Order) -> None:
    """Let the cancel of what still rests be asked for again; one may be on its way nevertheless.

    While a cancel's own answer is outstanding that it still rests says nothing.
    """
    name = order.client_order_id
    if name in book.cancelling and name not in book.unanswered:
        book.cancelling.discard(name)
        book.leaving.add(name)


def asked_for(book: Book, order: Order) -> None:
    """Learn that the exchange has said what became of an order: its cancel may be asked again."""
    if order.client_order_id not in book.cancelling:
        book.unanswered.discard(order.client_order_id)


def apply_report(book: Book, order: Order, report: OrderReport, cause: str) -> Order:
    """Take over what the exchange says of an order. Only fills make it filled.

    A final report is kept back until the fills that it announces have come; reports that would
    step back in the order's life are late and change nothing.
    """
    if report.exchange_order_id and not order.exchange_order_id:
        order = with_values(order, exchange_order_id=report.exchange_order_id)
        book.orders[order.client_order_id] = order
    if order.state.final:
        return order
    if report.filled_quantity > order.filled_quantity:
        known = book.announced.get(order.client_order_id)
        if known is None or report.state.final or not known.state.final:
            # an older report that comes late must not hide the end that was told
            book.announced[order.client_order_id] = report
        if order.state in (OrderState.SUBMITTED, OrderState.UNKNOWN):
            return move(book, order, OrderState.ACCEPTED, cause)
        return order
    target = report.state
    if target is OrderState.FILLED and order.filled_quantity <= 0:
        book.announced[order.client_order_id] = report
        book.alert(
            "HIGH",
            "FILLED_WITHOUT_FILL",
            f"{order.client_order_id} is reported FILLED with quantity 0",
            symbol=order.symbol,
        )
        return order
    if not lifecycle.allowed(order.state, target) or target is OrderState.PARTIALLY_FILLED:
        return order
    return move(book, order, target, cause, reason=report.reason)


def settle_announced(book: Book, order: Order) -> Order:
    """Finish an order whose announced fills have all come."""
    report = book.announced.get(order.client_order_id)
    if report is None or order.filled_quantity < report.filled_quantity:
        return order
    del book.announced[order.client_order_id]
    return apply_report(book, order, report, "fills_complete")


def _result(book: Book, order: Order, trace: str) -> ExecutionResult:
    plan = book.plans.get(order.position_id)
    filled, average = order.filled_quantity, order.average_price
    if order.state is OrderState.FILLED or (filled and filled >= order.quantity):
        status = "SUCCESS"
    elif filled:
        status = "PARTIAL"
    else:
        status = "REJECTED" if order.state is OrderState.REJECTED else "FAILED"
    slippage = None
    if average is not None and plan is not None and order.purpose is OrderPurpose.ENTRY:
        slippage = (average / plan.price - 1) * order.side.sign
    leverage = plan.leverage if plan else 0
    paid = book.commissions.get(order.client_order_id, Decimal(0))
    return ExecutionResult(order, status, leverage, slippage, paid, trace)
