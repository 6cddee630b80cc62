"""Labels: which barrier does the price touch first within the horizon, if any?

For a window that ends with bar t: entry at the open of bar t + 1 (where an order decided at the
close of t fills first), then bars t + 1 to t + horizon are followed along the path that fills are
made on: open, low and high (low first when the bar closed up), close. The barriers lie
`max(cost, atr_multiple x ATR of the window)` above and below the entry: costs alone would call
almost every bar of a wild symbol a move and almost none of a calm one. Classes: 0 down (the lower
barrier came first), 1 flat (neither came), 2 up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

DOWN, FLAT, UP = 0, 1, 2
CLASS_NAMES = ("down", "flat", "up")
_OPEN, _HIGH, _LOW, _CLOSE = range(4)
_ATR_BARS = 14


@dataclass(frozen=True, slots=True)
class LabelRule:
    """How a label is made. Cost and moves are fractions of price: 0.0012 is 12 bp."""

    horizon: int = 15
    cost: float = 0.0012
    """Two taker fees of 5 bp and 1 bp of slippage on each side."""
    atr_multiple: float = 2.0

    @property
    def purge(self) -> int:
        """Bars after a window's end that its label looks at, and one more."""
        return self.horizon + 1


def label_moves(
    bars: npt.NDArray[np.float64],
    ends: npt.NDArray[np.int64],
    atr_fraction: npt.NDArray[np.floating[Any]],
    rule: LabelRule,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return (labels, moves) of the windows that end at rows `ends` of `bars` [L, 5].

    A move is the return of a long entry that leaves at the barrier, or at the horizon's close
    when neither barrier came; that of a short is its negative. ValueError when a label would need
    bars beyond the data.
    """
    if ends.size and int(ends.max()) + rule.horizon >= bars.shape[0]:
        raise ValueError(f"a label needs {rule.horizon} bars after its window")
    entry = bars[ends + 1, _OPEN]
    barrier = np.maximum(rule.cost, rule.atr_multiple * atr_fraction.astype(np.float64))
    upper, lower = entry * (1 + barrier), entry * (1 - barrier)
    labels = np.full(ends.size, FLAT, dtype=np.int64)
    undecided = np.ones(ends.size, dtype=np.bool_)
    for step in range(1, rule.horizon + 1):
        bar = bars[ends + step]
        touches_up, touches_down = bar[:, _HIGH] >= upper, bar[:, _LOW] <= lower
        both_up = bar[:, _CLOSE] <= bar[:, _OPEN]  # it closed down, so its high came first
        rises = touches_up & (~touches_down | both_up)
        labels[undecided & rises] = UP
        labels[undecided & touches_down & ~rises] = DOWN
        undecided &= ~(touches_up | touches_down)
    moves = bars[ends + rule.horizon, _CLOSE] / entry - 1.0
    moves = np.where(labels == UP, barrier, np.where(labels == DOWN, -barrier, moves))
    return labels, moves


def window_atr(bars: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the average true range of windows [N, L, 5] as fractions of their last close.

    Wilder's mean over 14 bars seeded with the plain mean of the first 14, as the artifact's graph
    computes it. ValueError for windows shorter than 15 bars.
    """
    if bars.shape[1] <= _ATR_BARS:
        raise ValueError(f"{bars.shape[1]} bars are too few for an average of {_ATR_BARS} ranges")
    previous = bars[:, :-1, _CLOSE]
    high, low = bars[:, 1:, _HIGH], bars[:, 1:, _LOW]
    ranges = np.maximum(high - low, np.maximum(np.abs(high - previous), np.abs(low - previous)))
    average: npt.NDArray[np.float64] = ranges[:, :_ATR_BARS].mean(axis=1)
    for step in range(_ATR_BARS, ranges.shape[1]):
        average = average + (ranges[:, step] - average) / _ATR_BARS
    return average / bars[:, -1, _CLOSE]
