"""Measures of results: pure arithmetic, each with the source of its formula.

Money stays `Decimal`; ratios are floats, since they hold roots and quotients. A measure that the
data do not give is None, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from services.analytics.core.equity import EquityPoint
from services.trade.times import DAY_MS

DAYS_A_YEAR = 365
"""Perpetual futures trade every day of the year."""
_Z_95 = 1.959963984540054
"""97.5 % quantile of the normal distribution: a two-sided interval of 95 %."""
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Drawdown:
    """The deepest fall from a peak of the equity."""

    amount: Decimal = _ZERO
    """In the quote asset, positive."""
    fraction: float = 0.0
    """Of the peak that it fell from: 0.1 is 10 %; the largest of all falls."""
    peak_time: int = 0
    """Market time of the peak of the largest fraction; 0 without a fall."""
    trough_time: int = 0


def drawdown(points: Sequence[EquityPoint]) -> Drawdown:
    """Return the deepest fall: max over t of (peak before t - low at t), and over the peak.

    Magdon-Ismail and Atiya, "Maximum drawdown", Risk 17 (2004). Inside one point the order of its
    high and low is not known, so a low is compared with earlier highs and the point's own end
    with its high: what is returned is never deeper than what happened.
    """
    amount, fraction, span = _ZERO, 0.0, (0, 0)
    peak: tuple[Decimal, int] | None = None
    for point in points:
        falls = [(peak, point.low)] if peak is not None else []
        falls.append(((point.high, point.time), point.equity))
        for top, bottom in falls:
            amount = max(amount, top[0] - bottom)
            share = float((top[0] - bottom) / top[0]) if top[0] > 0 else 0.0
            if share > fraction:
                fraction, span = share, (top[1], point.time)
        if peak is None or point.high > peak[0]:
            peak = (point.high, point.time)
    return Drawdown(amount, fraction, *span)


def daily_equity(points: Sequence[EquityPoint]) -> list[tuple[int, Decimal]]:
    """Return the last equity of each UTC day that has a round, by number of the day since 1970.

    A round at 00:00 belongs to the day before, whose last it is.
    """
    last: dict[int, Decimal] = {}
    for point in points:
        last[(point.time - 1) // DAY_MS] = point.equity
    return sorted(last.items())


def daily_returns(points: Sequence[EquityPoint]) -> list[float]:
    """Return the simple return of each day on the day before; days without a round are skipped."""
    ends = [equity for _, equity in daily_equity(points)]
    return [float(after / before - 1) for before, after in pairwise(ends) if before > 0]


def sharpe(returns: Sequence[float]) -> float | None:
    """Return the annual Sharpe ratio with a risk-free rate of zero.

    Mean over sample standard deviation (n - 1), times the root of the days a year: Sharpe, "The
    Sharpe Ratio", Journal of Portfolio Management 21 (1994). None below two returns, or when they
    do not vary.
    """
    if len(returns) < 2:
        return None
    mean = math.fsum(returns) / len(returns)
    spread = math.sqrt(math.fsum((r - mean) ** 2 for r in returns) / (len(returns) - 1))
    # returns that are all the same vary by rounding alone
    if spread <= 1e-12 * max(1.0, abs(mean)):
        return None
    return mean / spread * math.sqrt(DAYS_A_YEAR)


def sortino(returns: Sequence[float]) -> float | None:
    """Return the annual Sortino ratio with a target of zero.

    Mean over the root of the mean squared shortfall of all returns: Sortino and Price,
    "Performance Measurement in a Downside Risk Framework", Journal of Investing 3 (1994). None
    below two returns, or when none fell short.
    """
    if len(returns) < 2:
        return None
    downside = math.sqrt(math.fsum(min(r, 0.0) ** 2 for r in returns) / len(returns))
    if not downside:
        return None
    return math.fsum(returns) / len(returns) / downside * math.sqrt(DAYS_A_YEAR)


def calmar(points: Sequence[EquityPoint]) -> float | None:
    """Return annual compound growth over the deepest drawdown as a fraction.

    Young, "Calmar Ratio: A Smoother Tool", Futures 20 (1991), over the span that there is. None
    without a fall, below one day, or when the equity was not positive.
    """
    deepest = drawdown(points).fraction
    if not deepest or points[-1].time - points[0].time < DAY_MS:
        return None
    if points[0].equity <= 0 or points[-1].equity <= 0:
        return None
    years = (points[-1].time - points[0].time) / (DAYS_A_YEAR * DAY_MS)
    growth = math.log(float(points[-1].equity / points[0].equity)) / years
    # a gain in a few days can be more a year than a float holds
    return math.expm1(growth) / deepest if growth < 700 else None


def profit_factor(nets: Iterable[Decimal]) -> float | None:
    """Return what was won over what was lost, both after costs; None without a loss."""
    won = lost = _ZERO
    for net in nets:
        won, lost = (won + net, lost) if net > 0 else (won, lost - net)
    return float(won / lost) if lost else None


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its interval of 95 %."""

    value: float
    low: float
    high: float


def wilson(wins: int, trades: int) -> Share | None:
    """Return the share of wins with Wilson's score interval of 95 %; None without trades.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927):
    it stays inside 0 and 1 and holds for few trades, where the plain one says 100 % of 3 is sure.
    """
    if not trades:
        return None
    share, z2 = wins / trades, _Z_95**2
    centre = (share + z2 / (2 * trades)) / (1 + z2 / trades)
    spread = math.sqrt(share * (1 - share) / trades + z2 / (4 * trades**2))
    half = _Z_95 / (1 + z2 / trades) * spread
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    # the bounds of all or none are exactly 1 and 0; rounding must not exclude the share itself
    return Share(share, min(low, share), max(high, share))
