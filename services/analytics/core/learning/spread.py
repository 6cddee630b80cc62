"""How a quantity is spread, counted on a fixed fine grid, so that spreads add up."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

CELLS = 400


class Quantity(StrEnum):
    """What is watched for drift besides the results."""

    CONFIDENCE = "confidence"
    """Probability of the likelier direction, as the ensemble says it."""
    RETURN = "return"
    """Return of the candle."""
    ATR = "atr"
    """Average true range as a fraction of price."""


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where the cells lie: even steps of `scale(value)`."""

    low: float
    high: float
    logarithmic: bool

    def place(self, value: float) -> int:
        return min(CELLS - 1, max(0, int(self._part(value) * CELLS)))

    def edge(self, cell: int) -> float:
        """Value at the lower end of a cell."""
        at = self.low + (self.high - self.low) * cell / CELLS
        if not self.logarithmic:
            return at
        size = math.expm1(abs(at)) * _UNIT
        return math.copysign(size, at)

    def _part(self, value: float) -> float:
        at = value
        if self.logarithmic:
            at = math.copysign(math.log1p(abs(value) / _UNIT), value)
        return (at - self.low) / (self.high - self.low)


_UNIT = 1e-5
"""Below a tenth of a basis point, differences are not told apart well, and need not be."""
_TOP = math.log1p(1e4)
_GRIDS = {
    Quantity.CONFIDENCE: _Grid(0.0, 1.0, logarithmic=False),
    Quantity.RETURN: _Grid(-_TOP, _TOP, logarithmic=True),
    Quantity.ATR: _Grid(0.0, _TOP, logarithmic=True),
}


@dataclass(frozen=True, slots=True)
class Spread:
    """Counts by cell; shares of an endless number of values when it was made of quantiles."""

    counts: tuple[float, ...] = (0.0,) * CELLS

    def __add__(self, other: Spread) -> Spread:
        return Spread(tuple(a + b for a, b in zip(self.counts, other.counts, strict=True)))

    @property
    def total(self) -> float:
        """How many values there are."""
        return sum(self.counts)


def spread(quantity: Quantity, values: Iterable[float]) -> Spread:
    """Count values."""
    counts = [0.0] * CELLS
    grid = _GRIDS[quantity]
    for value in values:
        counts[grid.place(value)] += 1.0
    return Spread(tuple(counts))


def from_quantiles(quantity: Quantity, quantiles: Sequence[float], total: float) -> Spread:
    """Return the spread whose quantiles, evenly from the least to the largest value, are these.

    ValueError when they are fewer than two or do not rise.
    """
    if len(quantiles) < 2 or any(b < a for a, b in pairwise(quantiles)):
        raise ValueError("quantiles must rise, and be two at least")
    grid = _GRIDS[quantity]
    below = [_share_below(quantiles, grid.edge(cell)) for cell in range(1, CELLS)]
    edges = [0.0, *below, 1.0]
    return Spread(tuple((b - a) * total for a, b in pairwise(edges)))


def _share_below(quantiles: Sequence[float], value: float) -> float:
    place = bisect_left(quantiles, value)
    if place == 0:
        return 0.0
    if place == len(quantiles):
        return 1.0
    low, high = quantiles[place - 1], quantiles[place]
    part = (value - low) / (high - low) if high > low else 1.0
    return (place - 1 + part) / (len(quantiles) - 1)
