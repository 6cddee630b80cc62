"""How far a model's confidence has moved from what it was out of sample.

The measure is the population stability index over ten groups that were equally filled then. A calm
or a wild market moves the confidence of every model (on recorded months the index of a half day is
0.7 as a rule), which proves nothing against one of them: an absolute limit would exclude them all.
So a model drifts when its index exceeds that of the models' middle by `DRIFT`, the one threshold,
more than is usual of it: one model answers to calm and wild markets more strongly than others do,
and did so in the very months that it was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

import numpy as np
import numpy.typing as npt

DRIFT = 0.25
"""Excess of the index from which on a model drifts."""
BINS = 1024
"""Equal steps of confidence in which answers are counted before their groups are known."""
_IMAGINED = 0.5
"""Rows that each group is taken to have held besides, so that an empty one has a logarithm."""

Counts = npt.NDArray[np.int64]


def bins_of(confidence: npt.NDArray[np.float64]) -> Counts:
    """Count the confidences [answers, models], 0 to 1, of each model by step: [models, BINS]."""
    models = confidence.shape[1]
    places = np.clip((confidence * BINS).astype(np.int64), 0, BINS - 1)
    places += np.arange(models) * BINS
    return np.bincount(places.ravel(), minlength=models * BINS).reshape(models, BINS)


def edges_of(means: Sequence[float]) -> tuple[float, ...]:
    """Return where groups part whose mean confidences are known: half way between neighbours."""
    return tuple((low + high) / 2 for low, high in pairwise(means))


def stability_index(counts: Counts, edges: Sequence[float]) -> float:
    """Return the index of counted answers against groups that held an equal share each."""
    groups = np.searchsorted(np.array(edges), (np.arange(BINS) + 0.5) / BINS)
    held = np.bincount(groups, weights=counts, minlength=len(edges) + 1) + _IMAGINED
    shares = held / held.sum()
    usual = 1.0 / len(held)
    return math.fsum(float(term) for term in (shares - usual) * np.log(shares / usual))


def excess_of(
    counts: Mapping[str, Counts], edges: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    """Return by how much each model's index is above the middle one; unknown models have none."""
    known = {m: stability_index(c, edges[m]) for m, c in counts.items() if edges.get(m)}
    if not known:
        return {}
    middle = median(known.values())
    return {model: index - middle for model, index in known.items()}


def drifting(
    counts: Mapping[str, Counts],
    edges: Mapping[str, Sequence[float]],
    usual: Mapping[str, float],
) -> dict[str, float]:
    """Return the excess of each model whose usual confidence is known; above `DRIFT` it drifts.

    `usual` is what is taken off it: what one block in a hundred exceeds without any drift.
    """
    return {m: excess - usual.get(m, 0.0) for m, excess in excess_of(counts, edges).items()}
