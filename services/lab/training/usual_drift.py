"""How far the spread of a model's confidence moves in a block of market time without any drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from services.ai.core.drift import bins_of, excess_of
from services.ai.core.watch import BLOCK_BARS

LEAST_ROWS = 50
"""Rows without which a block says nothing; they are a sample of its bars."""
_SHARE = 0.99


def usual_drift(
    confidence: Mapping[str, npt.NDArray[np.float64]],
    times: npt.NDArray[np.int64],
    step_ms: int,
    edges: Mapping[str, Sequence[float]],
) -> dict[str, float]:
    """Return by model the excess over the middle that one block in a hundred shows, at least 0.

    `confidence` are answers by model to candles that closed at `times`, on a stretch of time that
    the models are made for. Empty when no block has enough rows.
    """
    found = excesses(confidence, times, step_ms, edges)
    return {
        name: max(0.0, float(np.quantile(values, _SHARE)))
        for name, values in found.items()
        if values
    }


def excesses(
    confidence: Mapping[str, npt.NDArray[np.float64]],
    times: npt.NDArray[np.int64],
    step_ms: int,
    edges: Mapping[str, Sequence[float]],
) -> dict[str, list[float]]:
    """Return the excess of each model in each block, as serving judges blocks."""
    blocks = (times - step_ms) // (BLOCK_BARS * step_ms)
    names = list(confidence)
    said = np.stack([confidence[name] for name in names], axis=1)
    found: dict[str, list[float]] = {name: [] for name in names}
    for block in np.unique(blocks):
        chosen = said[blocks == block]
        if len(chosen) < LEAST_ROWS:
            continue
        counts = dict(zip(names, bins_of(chosen), strict=True))
        for name, excess in excess_of(counts, edges).items():
            found[name].append(excess)
    return found
