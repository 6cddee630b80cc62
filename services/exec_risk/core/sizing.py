"""How large an entry is: a fixed fraction of equity at risk by the stop's distance, capped."""

from __future__ import annotations

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


def room(
    policy: Policy, equity: Decimal, leverage: int, gross: Decimal, margin_used: Decimal
) -> Decimal:
    """Return the largest notional in USD that all limits together leave for one entry."""
    margin_free = equity * policy.margin_share - margin_used
    share = equity * policy.margin_share * leverage / policy.max_positions
    rooms = (
        policy.max_position_usd,
        policy.max_exposure_usd - gross,
        margin_free * leverage,
        share,
    )
    return max(min(rooms), Decimal(0))


def size(
    *,
    equity: Decimal,
    confidence: float,
    stop_fraction: Decimal,
    price: Decimal,
    leverage: int,
    limit: Decimal,
    filters: SymbolFilters,
    risk_per_trade: Decimal,
) -> Size:
    """Return the entry's size in USD and base asset, rounded down to the step.

    It is rounded up only to reach the exchange's least notional, and then the limits decide.
    """
    scale = min(max(Decimal(str(confidence)), Decimal(0)), Decimal(1))
    wanted = min(equity * risk_per_trade * scale / stop_fraction, limit)
    quantity = filters.floor_quantity(wanted / price)
    quantity = min(quantity, filters.floor_quantity(filters.market_max_quantity))
    least = max(filters.ceil_quantity(filters.min_notional / price), filters.min_quantity)
    if quantity < least and least * price <= limit:
        quantity = least
    return of_quantity(quantity, price, leverage)


def of_quantity(quantity: Decimal, price: Decimal, leverage: int) -> Size:
    """Return the size of a given quantity."""
    notional = quantity * price
    return Size(quantity, notional, notional / leverage)
