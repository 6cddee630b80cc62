"""Whose order it is that rests under an id of ours and is not stored.

Without a store an order that reduces is sent before it is kept, and a crash forgets it. Its id is a
hash of the position and the order's number, so the position that it belongs to can be told.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.exec_risk.core.exchange_events import ExchangeSnapshot, OrderReport
from services.exec_risk.core.orders import orders
from services.exec_risk.core.reconciling.differences import OUR_IDS
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
        # an order that the exchange showed is counted already, whoever takes it over
        for number in range(max(next_one - _AHEAD, 0), next_one + _AHEAD):
            made = ids.client_order_id(
                book.policy.account, position.position_id, orders.LEGS[purpose], number
            )
            if made == report.client_order_id:
                return Owner(position, purpose)
    return None


def count_forgotten(book: Book, snapshot: ExchangeSnapshot) -> None:
    """Count on from the last order that the exchange shows under an id of an open position.

    It was sent without a store, and rests or has filled. The ones before it have ended, and their
    ids would be taken once more.
    """
    seen = {r.client_order_id for r in snapshot.open_orders}
    seen |= {f.client_order_id for f in snapshot.fills}
    if not any(name.startswith(OUR_IDS) and name not in book.orders for name in seen):
        return
    held = {p.position_id for p in book.positions.values()}
    held |= {o.position_id for o in book.live_orders() if o.purpose is OrderPurpose.ENTRY}
    for position_id in sorted(held):
        for purpose in _REDUCING:
            next_one = book.counts.get((position_id, purpose), 0)
            for number in range(next_one, next_one + _AHEAD):
                leg = orders.LEGS[purpose]
                made = ids.client_order_id(book.policy.account, position_id, leg, number)
                if made in seen or made in book.orders:
                    book.counts[position_id, purpose] = number + 1
