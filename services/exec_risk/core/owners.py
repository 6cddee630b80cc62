"""Whose order it is that rests under an id of ours and is not stored.

Without a store an order that reduces is sent before it is kept, and a crash forgets it. Its id is a
hash of the position and the order's number, so the position that it belongs to can be told.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.exec_risk.core import orders
from services.exec_risk.core.exchange_events import OrderReport
from services.exec_risk.core.state import Book
from services.trade import ids
from services.trade.order import OrderPurpose
from services.trade.position import Position

_AHEAD = 8
"""Orders of one purpose that a position may have been sent and that nobody has stored."""
_REDUCING = (OrderPurpose.STOP_LOSS, OrderPurpose.TAKE_PROFIT, OrderPurpose.EXIT)


@dataclass(frozen=True, slots=True)
class Owner:
    """A position, and what the order is for."""

    position: Position
    purpose: OrderPurpose


def owner_of(book: Book, report: OrderReport) -> Owner | None:
    """Return whose next order this is; None when it is not one of an open position."""
    position = book.positions.get(report.symbol)
    if position is None or report.side is not position.side.exit_side:
        return None
    for purpose in _REDUCING:
        next_one = book.counts.get((position.position_id, purpose), 0)
        for number in range(next_one, next_one + _AHEAD):
            made = ids.client_order_id(
                book.policy.account, position.position_id, orders.LEGS[purpose], number
            )
            if made == report.client_order_id:
                return Owner(position, purpose)
    return None
