"""Results by UTC day: money counts on the day it moved, a trade on the day it closed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

TOTAL = "total"
"""Name of the span that holds all days."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a span of time brought. Amounts in the quote asset."""

    day: str
    gross: Decimal = Decimal(0)
    commission: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)
    trades: int = 0
    wins: int = 0
    in_sample: bool = False

    @property
    def net(self) -> Decimal:
        """Change of the wallet: gross minus commission plus funding."""
        return self.gross - self.commission + self.funding

    @property
    def win_rate(self) -> float:
        """Share of the closed trades that won after commission and funding; 0 without trades."""
        return self.wins / self.trades if self.trades else 0.0


def total(days: Iterable[Result]) -> Result:
    """Return all days together."""
    result = Result(TOTAL)
    for day in days:
        result = Result(
            day=TOTAL,
            gross=result.gross + day.gross,
            commission=result.commission + day.commission,
            funding=result.funding + day.funding,
            trades=result.trades + day.trades,
            wins=result.wins + day.wins,
            in_sample=result.in_sample or day.in_sample,
        )
    return result
