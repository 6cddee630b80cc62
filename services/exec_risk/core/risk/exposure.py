"""What positions and entries on their way add up to, per direction, symbol and cluster.

Everything is derived from live orders, executions and open positions at the moment of asking:
nothing is counted up that could fail to be counted down. An entry of unknown outcome counts as if
it filled, and one in the other direction as if it did not.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from services.exec_risk.core.policy import Policy
from services.exec_risk.core.risk import safety
from services.exec_risk.core.state import Book
from services.trade.clusters import cluster_of
from services.trade.order import Side


def limit(book: Book) -> Decimal:
    """Return the gross exposure in USD that the account may have at its safety level."""
    return book.policy.max_exposure_usd * safety.of(book).exposure


def capacity(book: Book, equity: Decimal) -> Decimal:
    """Return the exposure that shares are fractions of: the limit, or what margin can carry."""
    policy: Policy = book.policy
    return min(limit(book), equity * policy.margin_share * policy.entry_leverage(None))


def of_side(book: Book, side: Side) -> Decimal:
    """Return net exposure in a direction (USD) if all its pending entries fill and no other."""
    held = _held(book, lambda _: True) * side.sign
    return held + _pending(book, side, lambda _: True)


def of_symbol(book: Book, symbol: str) -> Decimal:
    """Return a symbol's notional in USD, held and on its way."""
    held = abs(_held(book, lambda s: s == symbol))
    pending = (_pending(book, side, lambda s: s == symbol) for side in Side)
    return held + sum(pending, Decimal(0))


def of_cluster(book: Book, symbol: str, side: Side) -> Decimal:
    """Return one direction's notional in USD of the cluster that the symbol belongs to."""
    clusters = book.policy.risk.clusters
    name = cluster_of(symbol, clusters)

    def within(other: str) -> bool:
        return cluster_of(other, clusters) == name

    held = sum(
        (
            p.notional(book.mark(p))
            for p in book.positions.values()
            if p.side.entry_side is side and within(p.symbol)
        ),
        Decimal(0),
    )
    return held + _pending(book, side, within)


def _held(book: Book, wanted: Callable[[str], bool]) -> Decimal:
    """Signed notional of open positions."""
    found = (
        p.notional(book.mark(p)) * p.side.sign for p in book.positions.values() if wanted(p.symbol)
    )
    return sum(found, Decimal(0))


def _pending(book: Book, side: Side, wanted: Callable[[str], bool]) -> Decimal:
    ordered = (
        book.pending_notional(o) for o in book.orders.entries if o.side is side and wanted(o.symbol)
    )
    unsent = (
        book.unsent_notional(e)
        for e in book.executing.entering()
        if e.side is side and wanted(e.symbol)
    )
    return sum(ordered, Decimal(0)) + sum(unsent, Decimal(0))
