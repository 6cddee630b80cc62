"""What an artifact must have shown out of sample before it may make signals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import NamedTuple

ENSEMBLE = "ensemble"
BASELINES = {
    "always_hold": "always holding",
    "prior": "the class shares",
    "volatility_bins": "volatility bins",
    "logistic_regression": "logistic regression",
}
"""Baselines by their name in a manifest. Last direction is one too, but never better than these."""
_REQUIRED = ("volatility_bins", "logistic_regression")
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""97.5 % quantiles of Student's distribution by degrees of freedom, from 1 on; the last for more
too, which makes the interval a little too wide."""


class Gain(NamedTuple):
    """Log-loss that the ensemble gains over a baseline, in nats, with its 95 % interval."""

    mean: float
    low: float
    high: float
    spans: int
    """Stretches of time that it was measured over."""

    @property
    def sure(self) -> bool:
        """True when the whole interval lies above zero."""
        return self.low > 0


def gain_of(differences: Sequence[float]) -> Gain:
    """Return the mean of differences, one of each stretch of time, with its interval.

    Student's, from their standard error: rows of one stretch move together, so that only the
    stretches count as independent. A single one says nothing of its own error: no bound.
    """
    spans = len(differences)
    if spans < 2:
        return Gain(mean(differences) if differences else 0.0, -math.inf, math.inf, spans)
    middle = mean(differences)
    error = stdev(differences) / math.sqrt(spans)
    reach = _STUDENT[min(spans - 1, len(_STUDENT)) - 1] * error
    return Gain(middle, middle - reach, middle + reach, spans)


def gains(losses: Mapping[str, Sequence[float]]) -> dict[str, Gain]:
    """Return the ensemble's gain over each other name; `losses` are log-losses by name, by span."""
    own = losses.get(ENSEMBLE, ())
    return {
        name: gain_of([other - one for one, other in zip(own, others, strict=True)])
        for name, others in losses.items()
        if name != ENSEMBLE and len(others) == len(own)
    }


def refusals(metrics: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return why an artifact of these walk-forward metrics may not be promoted; empty: it may.

    The ensemble's log-loss must be below that of every baseline; it promises no profit. Not to have
    been compared is a reason too. Whether the gain is sure (`gains`) is told and not asked for: a
    market that has just changed has no folds that are alike, and the shadow shows what is better.
    """
    ensemble = metrics.get(ENSEMBLE, {}).get("log_loss")
    if ensemble is None:
        return ["its manifest has no walk-forward log-loss of the ensemble"]
    found = []
    for name in _REQUIRED:
        if "log_loss" not in metrics.get(name, {}):
            found.append(f"it was not compared with {BASELINES[name]}")
    if not {"always_hold", "prior"} & set(metrics):
        found.append("it was not compared with always holding")
    for name, said in BASELINES.items():
        loss = metrics.get(name, {}).get("log_loss")
        if loss is None:
            continue
        # A loss that is no number passes no comparison.
        if not ensemble < loss:
            found.append(f"its log-loss {ensemble:.4f} is not below that of {said}, {loss:.4f}")
    return found
