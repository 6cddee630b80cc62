"""The life of an order: which step may follow which, by name.

INTENT is stored and never sent. SUBMITTED is stored in the same transaction that allows the
sending, so an order that a restart finds in INTENT was never sent and one in SUBMITTED may have
been. FILLED follows only from fills.
"""

from __future__ import annotations

from decimal import Decimal

from services.trade.order import Fill, Order, OrderState
from services.trade.values import with_values

S = OrderState

TRANSITIONS: dict[tuple[OrderState, OrderState], str] = {
    (S.INTENT, S.SUBMITTED): "submit",
    (S.INTENT, S.CANCELED): "withdraw",
    (S.SUBMITTED, S.ACCEPTED): "accept",
    (S.SUBMITTED, S.PARTIALLY_FILLED): "fill_part",
    (S.SUBMITTED, S.FILLED): "fill",
    (S.SUBMITTED, S.REJECTED): "reject",
    (S.SUBMITTED, S.CANCELED): "cancel",
    (S.SUBMITTED, S.EXPIRED): "expire",
    (S.SUBMITTED, S.UNKNOWN): "lose",
    (S.UNKNOWN, S.SUBMITTED): "send_again",
    (S.UNKNOWN, S.ACCEPTED): "find_accepted",
    (S.UNKNOWN, S.PARTIALLY_FILLED): "find_part",
    (S.UNKNOWN, S.FILLED): "find_filled",
    (S.UNKNOWN, S.REJECTED): "prove_not_sent",
    (S.UNKNOWN, S.CANCELED): "find_canceled",
    (S.UNKNOWN, S.EXPIRED): "find_expired",
    (S.ACCEPTED, S.PARTIALLY_FILLED): "fill_part",
    (S.ACCEPTED, S.FILLED): "fill",
    (S.ACCEPTED, S.CANCELED): "cancel",
    (S.ACCEPTED, S.EXPIRED): "expire",
    (S.ACCEPTED, S.REJECTED): "reject_late",
    (S.PARTIALLY_FILLED, S.FILLED): "fill",
    (S.PARTIALLY_FILLED, S.CANCELED): "cancel",
    (S.PARTIALLY_FILLED, S.EXPIRED): "expire",
}
"""Every legal step and its name."""


class IllegalTransition(Exception):
    """A step that an order's life does not know."""


def allowed(current: OrderState, target: OrderState) -> bool:
    """Tell whether the step exists."""
    return (current, target) in TRANSITIONS


def advance(order: Order, target: OrderState, *, time: int, reason: str = "") -> Order:
    """Return the order in its next state; IllegalTransition when there is no such step."""
    if not allowed(order.state, target):
        raise IllegalTransition(f"{order.client_order_id}: {order.state} -> {target}")
    if target is OrderState.FILLED and order.filled_quantity <= 0:
        raise IllegalTransition(f"{order.client_order_id}: FILLED without a fill")
    return with_values(
        order,
        state=target,
        updated_time=max(time, order.updated_time),
        reason=reason or order.reason,
        version=order.version + 1,
    )


def with_fill(order: Order, fill: Fill) -> Order:
    """Return the order with a fill added. A fill is never refused, whatever the state."""
    filled, state = order.filled_quantity + fill.quantity, order.state
    if not state.final:
        whole = filled >= order.quantity
        state = OrderState.FILLED if whole else OrderState.PARTIALLY_FILLED
    return with_values(
        order,
        state=state,
        filled_quantity=filled,
        filled_cost=order.filled_cost + fill.price * fill.quantity,
        exchange_order_id=order.exchange_order_id or fill.exchange_order_id,
        updated_time=max(fill.time, order.updated_time),
        version=order.version + 1,
    )


def outstanding(order: Order) -> Decimal:
    """Return the quantity that may still fill."""
    return Decimal(0) if order.state.final else max(order.remaining, Decimal(0))
