"""The exchange's filters of a symbol, and rounding by them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal


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
