"""How many entries there are: held, on their way, today, of late, failed."""

from __future__ import annotations

from services.exec_risk.core.account.periods import Day
from services.exec_risk.core.state import Book
from services.trade.order import OrderPurpose, OrderState
from services.trade.times import utc_day

FAILED = (OrderState.REJECTED, OrderState.UNKNOWN)
"""States of an order that did not come to anything, or nobody knows."""


def slots_used(book: Book) -> int:
    """Return open positions plus symbols with a live entry order and no position yet."""
    pending = {o.symbol for o in book.orders.entries}
    pending |= {e.symbol for e in book.executing.entering()}
    return len(pending | set(book.positions))


def entries_today(book: Book) -> int:
    """Return positions opened this UTC day plus entries on their way to one."""
    held = {p.position_id for p in book.positions.values()}
    pending = {o.position_id for o in book.orders.entries}
    pending |= {e.position_id for e in book.executing.entering()}
    return book.days.get(utc_day(book.time), Day("")).opened + len(pending - held)


def entries_since(book: Book, span: int) -> int:
    """Return how many entries were decided within the last `span` ms of market time.

    An order that replaces a refused one belongs to the same decision.
    """
    begin = book.time - span + 1
    found = {o.position_id for o in book.orders.since(begin) if not o.reduce_only}
    decided = (book.plans[p].decided_time for p in found if p in book.plans)
    return sum(time >= begin for time in decided)


def failed_entries(book: Book, span: int) -> int:
    """Return how many entry orders of the last `span` ms were refused or are unknown."""
    found = book.orders.since(book.time - span + 1)
    return sum(o.purpose is OrderPurpose.ENTRY and o.state in FAILED for o in found)
