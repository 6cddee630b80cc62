"""What is counted over a UTC day and collected for one market time."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.exec_risk.core.inputs import Prediction


@dataclass(slots=True)
class Day:
    """Counters of one UTC day."""

    day: str
    start_equity: Decimal | None = None
    pnl: Decimal = Decimal(0)
    """Profit of the day after commission and funding, from fills."""
    trades: int = 0
    """Positions closed."""
    opened: int = 0
    """Positions opened."""
    losses: int = 0
    """Positions closed that cost money."""


@dataclass(slots=True)
class Round:
    """What is known of the candles of one market time."""

    time: int
    symbols: tuple[str, ...] | None = None
    """None until it is known which candles belong to it."""
    closes: dict[str, Decimal] = field(default_factory=dict)
    answers: dict[tuple[str, str], Prediction] = field(default_factory=dict)
    timed_out: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        """Symbols without an answer."""
        answered = {symbol for symbol, _ in self.answers}
        return tuple(s for s in sorted(self.symbols or ()) if s not in answered)

    @property
    def due(self) -> bool:
        """True when it is to be decided."""
        return self.symbols is not None and (self.timed_out or not self.missing)
