"""How large an entry is: by risk and volatility, then by every limit's room, then by the filters.

The risk of one entry is what its stop may cost, as a fraction of the equity: a quarter of the
Kelly fraction of the account's own closed trades, never above RISK_PER_TRADE. Before enough trades
are closed, and when their Kelly fraction is 0, a share of RISK_PER_TRADE is risked: small enough
to lose slowly, large enough to go on measuring.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from services.exec_risk.core.policy import Policy
from services.trade.filters import SymbolFilters


@dataclass(frozen=True, slots=True)
class Size:
    """A proposed entry. `notional` is price times quantity, in USD."""

    quantity: Decimal
    notional: Decimal
    margin: Decimal
    """Notional divided by leverage, once."""


def risk_fraction(policy: Policy, kelly: Decimal | None) -> Decimal:
    """Return the fraction of equity that an entry may lose at full confidence.

    `kelly` is the whole Kelly fraction of the closed trades, None while they are too few.
    """
    floor = policy.risk_per_trade * policy.risk.cold_start_share
    if kelly is None:
        return floor
    return min(max(kelly * policy.risk.kelly_fraction, floor), policy.risk_per_trade)


def wanted(
    *,
    equity: Decimal,
    risk: Decimal,
    confidence: float,
    stop_fraction: Decimal,
    atr_fraction: Decimal,
    volatility_target: Decimal,
    multiplier: Decimal = Decimal(1),
) -> Decimal:
    """Return the notional in USD that results and volatility ask for, before any limit.

    The smaller of: what loses `risk` of the equity, scaled by confidence, when the stop fills;
    and what moves the equity by `volatility_target` when the price moves by its average true
    range. `multiplier` is the safety level's.
    """
    scale = min(max(Decimal(str(confidence)), Decimal(0)), Decimal(1))
    by_risk = equity * risk * scale / stop_fraction
    if atr_fraction > 0:
        by_risk = min(by_risk, equity * volatility_target / atr_fraction)
    return max(by_risk * multiplier, Decimal(0))


def size(
    *, wanted: Decimal, price: Decimal, leverage: int, limit: Decimal, filters: SymbolFilters
) -> Size:
    """Return the entry's size in USD and base asset, rounded down to the step.

    It is rounded up only to reach the exchange's least notional, and only within `limit`, the
    smallest room that any rule leaves (USD).
    """
    if wanted <= 0:
        return of_quantity(Decimal(0), price, leverage)
    quantity = filters.floor_quantity(min(wanted, limit) / price)
    largest = filters.floor_quantity(min(filters.market_max_quantity, filters.max_quantity))
    quantity = min(quantity, largest)
    least = max(
        filters.ceil_quantity(filters.min_notional / price),
        filters.ceil_quantity(filters.min_quantity),
    )
    if quantity < least <= largest and least * price <= limit:
        quantity = least
    return of_quantity(max(quantity, Decimal(0)), price, leverage)


def smallest(rooms: Iterable[Decimal]) -> Decimal:
    """Return the least of the rooms in USD, never below 0."""
    return max(min(rooms), Decimal(0))


def of_quantity(quantity: Decimal, price: Decimal, leverage: int) -> Size:
    """Return the size of a given quantity."""
    notional = quantity * price
    return Size(quantity, notional, notional / leverage)
