"""The one effective leverage cap, and where liquidation stands."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core import safety
from services.exec_risk.core.state import Book
from services.trade.filters import SymbolFilters


def maintenance_rate(filters: SymbolFilters) -> Decimal:
    """Return the share of the notional that the exchange keeps as maintenance margin.

    Half of the initial margin at the symbol's highest leverage: Binance's first bracket is never
    above it.
    """
    return 1 / (2 * Decimal(filters.max_leverage))


def liquidation_distance(leverage: int, filters: SymbolFilters) -> Decimal:
    """Return how far the price may move against a position, as a fraction of its entry.

    1 / leverage - maintenance rate: the position's own margin alone, without the rest of the
    account, which can only move it further away.
    """
    return 1 / Decimal(leverage) - maintenance_rate(filters)


def cap(book: Book, filters: SymbolFilters, stop: Decimal) -> int:
    """Return the least of all caps: setting, exchange, safety level, liquidation behind the stop.

    0 means that no leverage is allowed at all.
    """
    level = safety.of(book).leverage
    if level <= 0:
        return 0
    account = book.policy.leverage_cap(filters)
    behind = book.policy.risk.liquidation_factor * stop + maintenance_rate(filters)
    return min(max(int(account * level), 1), int(1 / behind))


def of_entry(book: Book, filters: SymbolFilters, stop: Decimal) -> int:
    """Return the leverage that an entry uses: the policy's, at its safety level, within the cap."""
    level = safety.of(book).leverage
    wanted = max(int(book.policy.leverage * level), 1) if level > 0 else 0
    return min(wanted, cap(book, filters, stop))
