"""What needs no model, fitted on the same past: every model must beat these."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from services.lab.training import scores
from services.lab.training.data import Floats, Rows
from services.lab.training.features import FEATURES

Predict = Callable[[Floats], scores.Probabilities]

ALWAYS_HOLD, LAST_DIRECTION = "always_hold", "last_direction"
VOLATILITY, LOGISTIC = "volatility_bins", "logistic_regression"
BASELINES = (ALWAYS_HOLD, LAST_DIRECTION, VOLATILITY, LOGISTIC)
BINS = 20
_DEVIATION = FEATURES.index("deviation_30")
_LAST_MOVE = FEATURES.index("return_20")


def baselines(rows: Rows) -> dict[str, Predict]:
    """Fit them: class shares, shares after a rise or fall, volatility bins, logistic regression."""
    share = _shares(rows.labels)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    logistic.fit(rows.features.astype(np.float64), rows.labels)
    moved, volatility = rows.features[:, _LAST_MOVE], rows.features[:, _DEVIATION]
    cuts = np.quantile(volatility, np.linspace(0, 1, BINS + 1)[1:-1])
    return {
        ALWAYS_HOLD: lambda f: np.tile(share, (f.shape[0], 1)),
        LAST_DIRECTION: _binned(rows.labels, moved, np.zeros(1), _LAST_MOVE),
        VOLATILITY: _binned(rows.labels, volatility, cuts, _DEVIATION),
        LOGISTIC: lambda f: np.asarray(logistic.predict_proba(f.astype(np.float64))),
    }


def _binned(
    labels: scores.Labels, values: Floats, cuts: npt.NDArray[np.floating], column: int
) -> Predict:
    """Return a predictor that tells the class shares of the bin that a feature falls into."""
    bins = np.digitize(values, cuts)
    share = _shares(labels)
    table = np.stack([_shares(labels[bins == b], share) for b in range(cuts.size + 1)])
    return lambda f: table[np.digitize(f[:, column], cuts)]


def _shares(
    labels: scores.Labels, prior: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    counts = np.bincount(labels, minlength=3).astype(np.float64)
    if prior is not None:
        counts += prior
    shares: npt.NDArray[np.float64] = counts / counts.sum()
    return shares
