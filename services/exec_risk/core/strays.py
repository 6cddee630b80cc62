"""Orders that rest on the exchange and are nobody's here."""

from __future__ import annotations

from services.exec_risk.core import orders
from services.exec_risk.core.actions import Cancel
from services.exec_risk.core.differences import OUR_IDS
from services.exec_risk.core.exchange_events import OrderReport
from services.exec_risk.core.facts import OrderChanged, ReconcileRepaired
from services.exec_risk.core.state import Book
from services.trade.order import Order, OrderPurpose, OrderState, OrderType


def remove(book: Book, report: OrderReport, known: Order | None) -> None:
    """Cancel what rests and is nobody's: a stop of a position that is closed, a lost child."""
    client_id = report.client_order_id
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
