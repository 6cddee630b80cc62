"""Orders of which it is proven that they never reached the exchange: sent again under their id.

What an exchange fills may depend on the client order id, so a replacement under another id would
make what happens depend on when a process died.
"""

from __future__ import annotations

from services.exec_risk.core.effects import Place
from services.exec_risk.core.executions import executing
from services.exec_risk.core.orders import orders
from services.exec_risk.core.rules import blocked_by
from services.exec_risk.core.state import Book
from services.trade.order import Order, OrderPurpose, OrderState
from services.trade.position import Position


def never_sent(book: Book, order: Order) -> bool:
    """Send an order again that the exchange never got; False when nobody wants it any more."""
    if order.filled_quantity or not _wanted(book, order):
        return False
    if order.state is not OrderState.SUBMITTED:
        order = orders.move(book, order, OrderState.SUBMITTED, "never_sent")
    book.emit(Place(order))
    return True


def at_start(book: Book, order: Order) -> bool:
    """Send at once again what a dead replica may not have sent; False where proof comes first.

    It is so for stops alone, which cannot wait: one that rests refuses its own id, and a second one
    could open nothing.
    """
    return order.purpose is OrderPurpose.STOP_LOSS and never_sent(book, order)


def _wanted(book: Book, order: Order) -> bool:
    position = book.positions.get(order.symbol)
    owned = position is not None and position.position_id == order.position_id
    if order.execution_id:
        execution = book.executing.all.get(order.execution_id)
        if execution is None or not execution.sends or executing.stopped_by(book, execution):
            return False
        return order.reduce_only or not blocked_by(book)
    if position is None or not owned:
        return False
    if order.purpose is OrderPurpose.EXIT:
        return order.remaining <= position.quantity
    return position.exit_reason is None and _stands(book, order, position)


def _stands(book: Book, order: Order, position: Position) -> bool:
    """Tell whether no other order has taken the place of a protective one meanwhile."""
    if order.purpose is not OrderPurpose.STOP_LOSS:
        return order.remaining <= position.quantity
    newest = book.orders_of(order.position_id, OrderPurpose.STOP_LOSS)[-1]
    return order.remaining == position.quantity and newest is order
