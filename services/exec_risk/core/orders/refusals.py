"""How often what the exchange refused is tried again: told by the orders, so a restart keeps it."""

from __future__ import annotations

from services.exec_risk.core.state import Book
from services.trade.order import Order, OrderPurpose, OrderState

_MOST_DOUBLINGS = 6
_UNTOLD = (OrderState.INTENT, OrderState.SUBMITTED, OrderState.UNKNOWN, OrderState.REJECTED)


def refused_in_a_row(book: Book, position_id: str, purpose: OrderPurpose) -> list[Order]:
    """Return a position's refused orders of a purpose since the last that was taken."""
    mine = [
        o
        for o in book.orders.of(position_id)
        # what an execution was refused never holds up the closing of a position
        if o.purpose is purpose and not o.execution_id
    ]
    taken = max((o.updated_time for o in mine if o.state not in _UNTOLD), default=-1)
    return [o for o in mine if o.state is OrderState.REJECTED and o.updated_time >= taken]


def may_try(book: Book, position_id: str, purpose: OrderPurpose) -> bool:
    """Tell whether another order may be tried after those that were refused."""
    return len(refused_in_a_row(book, position_id, purpose)) < max(book.policy.retry_attempts, 1)


def paused(book: Book, position_id: str, purpose: OrderPurpose) -> bool:
    """Tell whether what can wait has to: a pause of market time, doubled with each refusal.

    It is for orders without which the position is safe; `may_try` for those that it needs.
    """
    refused = refused_in_a_row(book, position_id, purpose)
    if not refused:
        return False
    pause = book.policy.protection.retry_pause_ms << min(len(refused) - 1, _MOST_DOUBLINGS)
    return book.time < max(o.updated_time for o in refused) + pause
