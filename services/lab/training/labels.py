"""Labels: does the price move beyond costs and noise within the horizon, and which way?

For a window that ends with bar t: entry at the open of bar t + 1 (where an order decided at the
close of t fills first), exit at the close of bar t + horizon. The move counts when it is larger
than `barrier = max(cost, atr_multiple x ATR of the window)`: costs alone would call almost every
bar of a wild symbol a move and almost none of a calm one. Classes: 0 down, 1 flat, 2 up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DOWN, FLAT, UP = 0, 1, 2
CLASS_NAMES = ("down", "flat", "up")


@dataclass(frozen=True, slots=True)
class LabelRule:
    """How a label is made. Cost and moves are fractions of price: 0.0012 is 12 bp."""

    horizon: int = 15
    cost: float = 0.0012
    """Two taker fees of 5 bp and 1 bp of slippage on each side."""
    atr_multiple: float = 1.5

    @property
    def purge(self) -> int:
        """Bars after a window's end that its label looks at, and one more."""
        return self.horizon + 1


def label_moves(
    opens: npt.NDArray[np.float64],
    closes: npt.NDArray[np.float64],
    ends: npt.NDArray[np.int64],
    atr_fraction: npt.NDArray[np.float32],
    rule: LabelRule,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return (labels, moves) of the windows that end at bars `ends`.

    ValueError when a label would need bars beyond the data.
    """
    if ends.size and int(ends.max()) + rule.horizon >= closes.size:
        raise ValueError(f"a label needs {rule.horizon} bars after its window")
    moves = closes[ends + rule.horizon] / opens[ends + 1] - 1.0
    barrier = np.maximum(rule.cost, rule.atr_multiple * atr_fraction.astype(np.float64))
    labels = np.full(ends.size, FLAT, dtype=np.int64)
    labels[moves > barrier] = UP
    labels[moves < -barrier] = DOWN
    return labels, moves
