"""What is known of a symbol's market besides its price."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.exec_risk.core.protection.trailing import usable


@dataclass(frozen=True, slots=True)
class Quote:
    """Best bid and ask, and the funding rate of the next settlement; None where not told."""

    time: int
    """Market time (ms) of the newest part."""
    bid: Decimal | None = None
    ask: Decimal | None = None
    funding_rate: Decimal | None = None
    """Fraction of the notional that LONG pays SHORT; negative: SHORT pays."""

    def updated(
        self, time: int, bid: Decimal | None, ask: Decimal | None, funding_rate: Decimal | None
    ) -> Quote:
        """Return it with what a newer report tells; what the report leaves out stays."""
        rate = self.funding_rate if funding_rate is None else funding_rate
        return Quote(time, self.bid if bid is None else bid, self.ask if ask is None else ask, rate)

    @property
    def spread(self) -> Decimal | None:
        """Ask minus bid as a fraction of the middle; None where one is not known."""
        if not usable(self.bid) or not usable(self.ask):
            return None
        assert self.bid is not None and self.ask is not None  # noqa: S101 - both are usable
        return (self.ask - self.bid) * 2 / (self.ask + self.bid)
