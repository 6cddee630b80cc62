"""What the fund's layers look at: one account at one round, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from services.trade.position import PositionSide
from services.trade.times import MINUTE_MS

HOUR_MS = 60 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Holding:
    """One open position at the round's close."""

    position_id: str
    symbol: str
    side: PositionSide
    quantity: Decimal
    entry_price: Decimal
    mark: Decimal
    opened_time: int
    risk_fraction: Decimal
    """Distance of the first stop as a fraction of the entry price; 0: not known."""

    @property
    def notional(self) -> Decimal:
        """USD at the round's close."""
        return self.quantity * self.mark

    @property
    def profit_r(self) -> Decimal:
        """Profit per unit in units of the first stop's distance, whatever the size."""
        risk = self.entry_price * self.risk_fraction
        if risk <= 0:
            return Decimal(0)
        return (self.mark - self.entry_price) * self.side.sign / risk

    def hours(self, now: int) -> Decimal:
        """Hours of market time since it was opened."""
        return Decimal(max(now - self.opened_time, 0)) / HOUR_MS


@dataclass(frozen=True, slots=True)
class FundView:
    """One account at one round."""

    account: str
    time: int
    equity: Decimal
    holdings: tuple[Holding, ...] = ()
    closes: Mapping[str, Decimal] = field(default_factory=dict)
    """Close by symbol of the round."""
    trades: int = 0
    """Closed within the last 24 hours of market time,"""
    net: Decimal = Decimal(0)
    """and what they made after commission and funding."""
    losses_in_a_row: int = 0
    """Of the trades closed within the last hour: without entries a row of losses cannot end, and
    a mode that only results could end would never end."""
    health: int = 100
    """Of the system, 0 to 100; 90 and more is optimal, below 30 an emergency."""

    @property
    def gross(self) -> Decimal:
        """Absolute notional of all positions in USD."""
        return sum((h.notional for h in self.holdings), Decimal(0))

    @property
    def net_exposure(self) -> Decimal:
        """Notional in USD, negative when short."""
        return sum((h.notional * h.side.sign for h in self.holdings), Decimal(0))
