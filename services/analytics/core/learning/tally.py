"""Sums over samples, from which every score of a window is computed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from services.analytics.core.learning.samples import Sample

BINS = 10
"""Equal steps of the confidence in which said and seen shares are compared."""
_Z = 1.96
_NO_BINS = (0.0,) * BINS


@dataclass(frozen=True, slots=True)
class Tally:
    """What came of some samples of one model; tallies add up."""

    samples: float = 0.0
    hits: float = 0.0
    decided: float = 0.0
    """Samples after which a barrier was reached."""
    direction_hits: float = 0.0
    log_loss_sum: float = 0.0
    brier_sum: float = 0.0
    contribution_sum: float = 0.0
    r_sum: float = 0.0
    gains: float = 0.0
    losses: float = 0.0
    """Positive: what was lost."""
    weight_sum: float = 0.0
    said: tuple[float, ...] = _NO_BINS
    seen: tuple[float, ...] = _NO_BINS

    def __add__(self, other: Tally) -> Tally:
        pairs = zip(self.numbers(), other.numbers(), strict=True)
        return Tally.from_numbers([a + b for a, b in pairs])

    def numbers(self) -> list[float]:
        """Return all sums as one row."""
        plain = [getattr(self, name) for name in _PLAIN]
        return [*plain, *self.said, *self.seen]

    @classmethod
    def from_numbers(cls, numbers: Sequence[float]) -> Tally:
        """Read what `numbers` wrote."""
        plain, said, seen = numbers[:_COUNT], numbers[_COUNT:-BINS], numbers[-BINS:]
        named = dict(zip(_PLAIN, plain, strict=True))
        return cls(**named, said=tuple(said), seen=tuple(seen))

    @property
    def hit_rate(self) -> float:
        """Share of samples whose likeliest class came."""
        return self.hits / self.samples if self.samples else 0.0

    @property
    def direction_hit_rate(self) -> float:
        """Share of the moves whose likelier direction came; a coin has one half."""
        return self.direction_hits / self.decided if self.decided else 0.0

    @property
    def log_loss(self) -> float:
        """Mean negative log-likelihood in nats."""
        return self.log_loss_sum / self.samples if self.samples else 0.0

    @property
    def brier(self) -> float:
        """Mean squared distance to the outcome, 0 to 2."""
        return self.brier_sum / self.samples if self.samples else 0.0

    @property
    def calibration_error(self) -> float:
        """Mean distance of said and seen shares of the likelier direction, over the bins."""
        if not self.samples:
            return 0.0
        return sum(abs(a - b) for a, b in zip(self.said, self.seen, strict=True)) / self.samples

    @property
    def contribution(self) -> float:
        """Log-loss that the ensemble would have lost without the model, a sample."""
        return self.contribution_sum / self.samples if self.samples else 0.0

    @property
    def average_r(self) -> float:
        """Mean result of following the likelier direction, in barriers, before costs."""
        return self.r_sum / self.samples if self.samples else 0.0

    @property
    def profit_factor(self) -> float:
        """Gains over losses, before costs; at most 10."""
        if self.losses <= 0:
            return 10.0 if self.gains > 0 else 0.0
        return min(10.0, self.gains / self.losses)

    @property
    def weight(self) -> float:
        """Mean share in the ensemble."""
        return self.weight_sum / self.samples if self.samples else 0.0


NOTHING = Tally()
_PLAIN = tuple(f.name for f in fields(Tally) if f.name not in ("said", "seen"))
_COUNT = len(_PLAIN)


def tally(samples: Iterable[Sample]) -> Tally:
    """Sum up samples of one model."""
    sums = [0.0] * (_COUNT + 2 * BINS)
    for sample in samples:
        _add(sums, sample)
    return Tally.from_numbers(sums)


def _add(sums: list[float], sample: Sample) -> None:
    direction, r = sample.direction_hit, sample.r
    plain = (
        1.0,
        sample.hit,
        direction is not None,
        direction is True,
        sample.log_loss,
        sample.brier,
        sample.contribution,
        r,
        max(0.0, r),
        max(0.0, -r),
        sample.weight,
    )
    for place, number in enumerate(plain):
        sums[place] += number
    step = min(BINS - 1, int(sample.confidence * BINS))
    sums[_COUNT + step] += sample.confidence
    sums[_COUNT + BINS + step] += sample.confidence_hit


def interval(hits: float, samples: float) -> tuple[float, float]:
    """Return the 95 % interval of a share (E. B. Wilson, 1927); (0, 1) without samples."""
    if samples <= 0:
        return (0.0, 1.0)
    share, square = hits / samples, _Z * _Z
    middle = (share + square / (2 * samples)) / (1 + square / samples)
    spread = share * (1 - share) / samples + square / (4 * samples * samples)
    half = _Z * math.sqrt(spread) / (1 + square / samples)
    return (max(0.0, middle - half), min(1.0, middle + half))
