"""What the fund's layers remember from round to round, as a value that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import pairwise

from services.analytics.core.fund.view import HOUR_MS, FundView

KEPT_CLOSES = 31
"""Closes a symbol that are remembered: thirty returns."""
_PEAK_HOURS = 24


@dataclass(frozen=True, slots=True)
class Seen:
    """What is remembered of one open position."""

    peak_r: Decimal = Decimal(0)
    done: tuple[str, ...] = ()
    """Actions that were asked for because it wins: each once."""
    reduced_at: int = 0
    """Market time at which its last reduction was asked for; 0: never."""


@dataclass(frozen=True, slots=True)
class Memory:
    """All that a later round needs of the earlier ones."""

    round_time: int = 0
    peaks: tuple[tuple[int, Decimal], ...] = ()
    """Highest equity by hour (its number since 1970), of the last day."""
    closes: Mapping[str, tuple[Decimal, ...]] = field(default_factory=dict)
    """Last closes by symbol, the newest last."""
    positions: Mapping[str, Seen] = field(default_factory=dict)
    asked_mode: str = ""
    """Fund mode that the numbers asked for at the last round,"""
    asked_since: int = 0
    """and since which round they have asked for none stricter."""

    def seen(self, position_id: str) -> Seen:
        """Return what is known of a position."""
        return self.positions.get(position_id, Seen())

    @property
    def peak(self) -> Decimal:
        """Highest equity of the last day; 0 before the first round."""
        return max((equity for _, equity in self.peaks), default=Decimal(0))

    def drawdown(self, equity: Decimal) -> Decimal:
        """Lost fraction of the last day's highest equity.

        A day, so that a fund that makes no entries does not wait for a profit for ever.
        """
        peak = self.peak
        return max((peak - equity) / peak, Decimal(0)) if peak > 0 else Decimal(0)


def observe(memory: Memory, view: FundView) -> Memory:
    """Return the memory with a round in it; positions that are gone are forgotten."""
    hour = view.time // HOUR_MS
    peaks = {h: equity for h, equity in memory.peaks if h > hour - _PEAK_HOURS}
    peaks[hour] = max(peaks.get(hour, view.equity), view.equity)
    closes = dict(memory.closes)
    for symbol, close in view.closes.items():
        closes[symbol] = (*closes.get(symbol, ()), close)[-KEPT_CLOSES:]
    positions = {}
    for holding in view.holdings:
        known = memory.seen(holding.position_id)
        peak = max(known.peak_r, holding.profit_r)
        positions[holding.position_id] = replace(known, peak_r=peak)
    return replace(
        memory,
        round_time=view.time,
        peaks=tuple(sorted(peaks.items())),
        closes=closes,
        positions=positions,
    )


def returns(closes: tuple[Decimal, ...]) -> list[float]:
    """Return the relative changes from close to close."""
    return [float(after / before - 1) for before, after in pairwise(closes) if before > 0]


def volatility(closes: tuple[Decimal, ...], last: int = KEPT_CLOSES) -> float:
    """Return the mean absolute change from close to close; 0 while too few are known."""
    found = returns(closes[-(last + 1) :])
    return sum(abs(r) for r in found) / len(found) if len(found) >= min(last, 5) else 0.0


def correlation(first: tuple[Decimal, ...], second: tuple[Decimal, ...]) -> float | None:
    """Return Pearson's correlation of the last changes; None while fewer than 20 are known."""
    a, b = returns(first), returns(second)
    n = min(len(a), len(b))
    if n < 20:
        return None
    a, b = a[-n:], b[-n:]
    mean_a, mean_b = sum(a) / n, sum(b) / n
    cov = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    var = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return cov / var**0.5 if var > 0 else None
