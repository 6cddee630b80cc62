"""What a position costs that is entered and left: fees, slippage, spread, funding."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core.protection.trailing import usable
from services.exec_risk.core.state import Book
from services.trade.position import PositionSide

FUNDING_INTERVAL_MS = 8 * 3_600_000
"""Binance settles funding at 00:00, 08:00 and 16:00 UTC."""


def spread(book: Book, symbol: str) -> Decimal:
    """Return the spread as a fraction of the middle price: the last told, else the assumed one."""
    assumed = book.policy.protection.assumed_spread
    quote = book.quotes.get(symbol)
    if quote is None or not usable(quote.bid) or not usable(quote.ask):
        return assumed
    assert quote.bid is not None and quote.ask is not None  # noqa: S101 - both are usable
    return max((quote.ask - quote.bid) * 2 / (quote.ask + quote.bid), assumed)


def funding(book: Book, symbol: str, side: PositionSide, now: int) -> Decimal:
    """Return what funding costs until the time exit, as a fraction of the notional, at least 0.

    LONG pays a positive rate, SHORT a negative one, at every settlement that is passed.
    """
    policy = book.policy.protection
    end = now + policy.max_holding_ms
    settlements = end // FUNDING_INTERVAL_MS - now // FUNDING_INTERVAL_MS
    quote = book.quotes.get(symbol)
    rate = quote.funding_rate if quote is not None else None
    paid = policy.assumed_funding if rate is None or not rate.is_finite() else rate * side.sign
    return max(paid, Decimal(0)) * settlements


def round_trip(book: Book, symbol: str, side: PositionSide, now: int) -> Decimal:
    """Return the fraction of the notional that an entry now and its exit cost together."""
    fees = book.policy.round_trip_cost
    return fees + spread(book, symbol) + funding(book, symbol, side, now)


def certain(book: Book) -> Decimal:
    """Return the part of the costs that no quote changes: the same after any restart."""
    return book.policy.round_trip_cost + book.policy.protection.assumed_spread
