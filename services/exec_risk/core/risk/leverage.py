"""The one effective leverage cap, and where liquidation stands."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core.risk import fund, safety
from services.exec_risk.core.state import Book
from services.trade.filters import SymbolFilters


def maintenance_rate(filters: SymbolFilters, notional: Decimal) -> Decimal:
    """Return the share of the notional that the exchange keeps as maintenance margin.

    By the tier of the notional; where it is not known, half of the initial margin at the symbol's
    highest leverage: Binance's first tier is never above it.
    """
    tier = filters.tier(notional)
    return 1 / (2 * Decimal(filters.max_leverage)) if tier is None else tier.maintenance_rate


def liquidation_distance(leverage: int, filters: SymbolFilters, notional: Decimal) -> Decimal:
    """Return how far the price may move against a position, as a fraction of its entry.

    1 / leverage - maintenance rate: the position's own margin alone, without the rest of the
    account, which can only move it further away.
    """
    return 1 / Decimal(leverage) - maintenance_rate(filters, notional)


def cap(book: Book, filters: SymbolFilters, stop: Decimal) -> int:
    """Return the least of all caps: setting, exchange, tier, safety level, liquidation.

    The tier is that of the largest position that is allowed; liquidation has to be behind the
    stop by a factor. 0 means that no leverage is allowed at all.
    """
    level = safety.of(book).leverage
    if level <= 0:
        return 0
    account = book.policy.leverage_cap(filters)
    largest = book.policy.max_position_usd
    tier = filters.tier(largest)
    if tier is not None:
        account = min(account, tier.max_leverage)
    behind = book.policy.risk.liquidation_factor * stop + maintenance_rate(filters, largest)
    return min(max(int(account * level), 1), int(1 / behind))


def of_entry(book: Book, filters: SymbolFilters, stop: Decimal) -> int:
    """Return the leverage that an entry uses: the policy's, at its safety level, within the cap."""
    level = safety.of(book).leverage
    wanted = max(int(book.policy.leverage * level), 1) if level > 0 else 0
    limits = fund.limits_of(book)
    if limits is not None:
        wanted = min(wanted, limits.max_leverage)
    return min(wanted, cap(book, filters, stop))
