"""The exchange's filters of a symbol, and rounding by them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal


@dataclass(frozen=True, slots=True)
class LeverageTier:
    """One tier of a symbol: what a position of this notional may do and must hold."""

    notional_floor: Decimal
    notional_cap: Decimal
    max_leverage: int
    maintenance_rate: Decimal
    """Maintenance margin as a fraction of the notional, less `maintenance_amount`."""
    maintenance_amount: Decimal = Decimal(0)
    """Binance's `cum`: makes the margin continuous from tier to tier."""


@dataclass(frozen=True, slots=True)
class SymbolFilters:
    """What the exchange allows for one symbol (exchangeInfo)."""

    symbol: str
    tick_size: Decimal
    step_size: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    market_max_quantity: Decimal
    min_notional: Decimal
    max_leverage: int = 20
    tiers: tuple[LeverageTier, ...] = ()
    """Leverage brackets by notional, ascending; empty where they are not known."""

    def tier(self, notional: Decimal) -> LeverageTier | None:
        """Return the tier of a notional; None where it is not known or above every tier."""
        return next((t for t in self.tiers if t.notional_floor <= notional < t.notional_cap), None)

    def floor_quantity(self, quantity: Decimal) -> Decimal:
        """Round a quantity down to the step."""
        return _to_multiple(quantity, self.step_size, ROUND_FLOOR)

    def ceil_quantity(self, quantity: Decimal) -> Decimal:
        """Round a quantity up to the step."""
        return _to_multiple(quantity, self.step_size, ROUND_CEILING)

    def floor_price(self, price: Decimal) -> Decimal:
        """Round a price down to the tick."""
        return _to_multiple(price, self.tick_size, ROUND_FLOOR)

    def ceil_price(self, price: Decimal) -> Decimal:
        """Round a price up to the tick."""
        return _to_multiple(price, self.tick_size, ROUND_CEILING)


def _to_multiple(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    if step <= 0:
        raise ValueError(f"step {step} is not positive")
    return (value / step).to_integral_value(rounding=rounding) * step
