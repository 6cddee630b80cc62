"""What an artifact must have shown out of sample before it may make signals."""

from __future__ import annotations

from collections.abc import Mapping

ENSEMBLE = "ensemble"
BASELINES = {
    "always_hold": "always holding",
    "prior": "the class shares",
    "volatility_bins": "volatility bins",
    "logistic_regression": "logistic regression",
}
"""Baselines by their name in a manifest. Last direction is one too, but never better than these."""
_REQUIRED = ("volatility_bins", "logistic_regression")


def refusals(metrics: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return why an artifact of these walk-forward metrics may not be promoted; empty: it may.

    The ensemble's log-loss must be below that of every baseline; it promises no profit. Not to
    have been compared is a reason too.
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
        # A loss that is no number passes no comparison.
        if loss is not None and not ensemble < loss:
            found.append(f"its log-loss {ensemble:.4f} is not below that of {said}, {loss:.4f}")
    return found
