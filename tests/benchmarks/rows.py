"""What a benchmark row says: a rate or a time against the floor of the same run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Ratios compare within one run on one machine, nothing else does."""

    path: str
    measured: str
    floor: str
    ratio: float
    aim: float
    higher_is_better: bool
    numbers: dict[str, float] = field(default_factory=dict)
    """Everything that was measured, for the JSON file."""

    @property
    def met(self) -> bool:
        """True when the aim is reached."""
        return self.ratio >= self.aim if self.higher_is_better else self.ratio <= self.aim


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of the values lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Sequence[float]) -> float:
    """Return the middle value."""
    return percentile(values, 0.5)
