"""Orders that rest on the exchange and that nobody has stored."""

from __future__ import annotations

from dataclasses import replace

from services.exec_risk.core.actions import Cancel
from services.exec_risk.core.exchange_events import OrderReport
from services.exec_risk.core.facts import OrderChanged, ReconcileRepaired
from services.exec_risk.core.orders import orders
from services.exec_risk.core.reconciling import owners
from services.exec_risk.core.reconciling.differences import OUR_IDS
from services.exec_risk.core.state import Book
from services.trade.order import Order, OrderPurpose, OrderState, OrderType

_TYPES = {
    OrderPurpose.STOP_LOSS: OrderType.STOP_MARKET,
    OrderPurpose.TAKE_PROFIT: OrderType.TAKE_PROFIT_MARKET,
    OrderPurpose.EXIT: OrderType.MARKET,
}


def remove(book: Book, report: OrderReport, known: Order | None) -> None:
    """Cancel what rests and is nobody's: a stop of a position that is closed, a lost child.

    What reduces a position that is open is taken over.
    """
    client_id = report.client_order_id
    if known is None and _taken_over(book, report):
        return
    ours = client_id.startswith(OUR_IDS)
    if client_id in book.cancelling or not (ours or book.policy.cancel_foreign_orders):
        return
    order = known or _order_of(book, report)
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


def _taken_over(book: Book, report: OrderReport) -> bool:
    """Give an order back to the position that it reduces: sent without a store, then forgotten."""
    owner = owners.owner_of(book, report)
    if owner is None:
        return False
    position = owner.position
    order = replace(
        _order_of(book, report),
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


def _order_of(book: Book, report: OrderReport) -> Order:
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
        state=OrderState.ACCEPTED,
        trigger_price=report.trigger_price,
        exchange_order_id=report.exchange_order_id,
        reason="found resting on the exchange",
    )
