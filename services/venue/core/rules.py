"""What the venue allows and charges: filters and brackets of symbols, fees, liquidity, latency."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.trade.filters import SymbolFilters


@dataclass(frozen=True, slots=True)
class Bracket:
    """One leverage bracket: notional range in the quote asset and its maintenance margin."""

    number: int
    initial_leverage: int
    floor: Decimal
    cap: Decimal
    maintenance_ratio: Decimal
    cumulative: Decimal


@dataclass(frozen=True, slots=True)
class SymbolRules:
    """Everything the venue knows of a symbol besides its prices."""

    filters: SymbolFilters
    brackets: tuple[Bracket, ...]

    @property
    def max_leverage(self) -> int:
        """Highest leverage of any bracket."""
        return self.brackets[0].initial_leverage

    def maintenance(self, notional: Decimal) -> Decimal:
        """Return the maintenance margin of a position of this absolute notional."""
        for bracket in self.brackets:
            if notional <= bracket.cap:
                return notional * bracket.maintenance_ratio - bracket.cumulative
        last = self.brackets[-1]
        return notional * last.maintenance_ratio - last.cumulative

    def maintenance_ratio(self, notional: Decimal) -> tuple[Decimal, Decimal]:
        """Return ratio and cumulative amount of the bracket that holds this notional."""
        for bracket in self.brackets:
            if notional <= bracket.cap:
                return bracket.maintenance_ratio, bracket.cumulative
        return self.brackets[-1].maintenance_ratio, self.brackets[-1].cumulative

    def max_notional(self, leverage: int) -> Decimal:
        """Return the largest position notional that is allowed at this leverage."""
        allowed = [b.cap for b in self.brackets if b.initial_leverage >= leverage]
        return max(allowed, default=Decimal(0))


@dataclass(frozen=True, slots=True)
class VenueRules:
    """Fees, liquidity, slippage and latency of the venue."""

    maker_fee: Decimal = Decimal("0.0002")
    taker_fee: Decimal = Decimal("0.0005")
    half_spread: Decimal = Decimal("0.00005")
    """Half of bid-ask spread, as a share of the price; at least half a tick."""
    impact: Decimal = Decimal("0.001")
    """Price moved by an order as large as the volume at the point, as a share of the price."""
    max_impact: Decimal = Decimal("0.005")
    participation: Decimal = Decimal("0.25")
    """Mean share of the volume at a point that may fill against our orders."""
    least_liquidity: Decimal = Decimal(2000)
    """Notional that any point can fill, in the quote asset, so that nothing waits for ever."""
    default_leverage: int = 20
    order_latency_ms: int = 0
    cancel_latency_ms: int = 0
    funding_interval_ms: int = 8 * 3_600_000
    max_open_orders: int = 200
