"""Orders that rest on the exchange and that nobody has stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from services.exec_risk.core.actions import Cancel
from services.exec_risk.core.exchange_events import OrderReport
from services.exec_risk.core.facts import OrderChanged, ReconcileRepaired
from services.exec_risk.core.orders import orders
from services.exec_risk.core.reconciling import owners
from services.exec_risk.core.reconciling.differences import OUR_IDS
from services.exec_risk.core.state import Book
from services.trade.order import Fill, Order, OrderPurpose, OrderState, OrderType

_TYPES = {
    OrderPurpose.STOP_LOSS: OrderType.STOP_MARKET,
    OrderPurpose.TAKE_PROFIT: OrderType.TAKE_PROFIT_MARKET,
    OrderPurpose.EXIT: OrderType.MARKET,
}


def remove(book: Book, report: OrderReport, known: Order | None, booked: Sequence[Fill]) -> None:
    """Cancel what rests and is nobody's: a stop of a position that is closed, a lost child.

    What reduces a position that is open is taken over. `booked` are the fills that were applied
    already; its own are none that it still waits for.
    """
    client_id = report.client_order_id
    order = known or _order_of(book, report, booked)
    if known is None and _taken_over(book, report, order):
        return
    ours = client_id.startswith(OUR_IDS)
    if client_id in book.cancelling or not (ours or book.policy.cancel_foreign_orders):
        return
    kind = "unknown_order" if ours else "foreign_order"
    text = f"{report.side} {report.quantity} rests under {client_id} and is nobody's: cancelled"
    evidence = f"{client_id}.{report.exchange_order_id}"
    book.emit(ReconcileRepaired(report.symbol, kind, text, book.time, evidence))
    if known is not None or not ours:
        book.cancelling.add(client_id)
        book.emit(Cancel(order))
        return
    book.orders[client_id] = order
    book.emit(OrderChanged(order, None, "found_resting"))
    orders.cancel(book, order)


def _taken_over(book: Book, report: OrderReport, order: Order) -> bool:
    """Give an order back to the position that it reduces: sent without a store, then forgotten."""
    owner = owners.owner_of(book, report)
    if owner is None:
        return False
    position = owner.position
    order = replace(
        order,
        purpose=owner.purpose,
        type=_TYPES[owner.purpose],
        position_id=position.position_id,
        signal_id=position.signal_id,
    )
    text = f"{report.side} {report.quantity} rests under {report.client_order_id}: taken over"
    evidence = f"{report.client_order_id}.{report.exchange_order_id}"
    book.emit(ReconcileRepaired(report.symbol, "unknown_order", text, book.time, evidence))
    book.orders[order.client_order_id] = order
    book.emit(OrderChanged(order, None, "found_resting", book.trace(position.position_id)))
    return True


def _order_of(book: Book, report: OrderReport, booked: Sequence[Fill]) -> Order:
    own = [f for f in booked if f.client_order_id == report.client_order_id]
    filled = sum((f.quantity for f in own), Decimal(0))
    cost = sum((f.quantity * f.price for f in own), Decimal(0))
    if report.filled_quantity > filled:
        # some are older than what was read back, and were told before
        filled = report.filled_quantity
        cost = filled * (report.average_price or Decimal(0))
    purpose, kind = OrderPurpose.ENTRY, OrderType.LIMIT
    if report.conditional:
        purpose, kind = OrderPurpose.STOP_LOSS, OrderType.STOP_MARKET
    elif report.reduce_only:
        purpose = OrderPurpose.EXIT
    return Order(
        client_order_id=report.client_order_id,
        account=book.policy.account,
        symbol=report.symbol,
        side=report.side,
        type=kind,
        purpose=purpose,
        quantity=report.quantity,
        decided_time=report.time,
        updated_time=report.time,
        state=OrderState.PARTIALLY_FILLED if filled else OrderState.ACCEPTED,
        filled_quantity=filled,
        filled_cost=cost,
        trigger_price=report.trigger_price,
        exchange_order_id=report.exchange_order_id,
        reason="found resting on the exchange",
    )
