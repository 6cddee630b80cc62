"""Honest measuring: train on the past, purge what overlaps, wait an embargo, test on the future.

A label looks `purge` bars beyond its window, so rows that end less than that before the test
begins are dropped from training; the embargo drops a window's length more, since features of
neighbouring windows share bars.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from services.lab.training import scores
from services.lab.training.boosters import BoosterPlan, fit_all
from services.lab.training.data import Floats, Rows
from services.lab.training.features import FEATURES

Predict = Callable[[Floats], scores.Probabilities]
VOLATILITY_BINS = 20
_VOLATILITY = FEATURES.index("deviation_30")


@dataclass(frozen=True, slots=True)
class Fold:
    """Row numbers of one step forward."""

    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Measured:
    """Out-of-sample predictions of all folds together."""

    labels: scores.Labels
    moves: npt.NDArray[np.float64]
    predictions: dict[str, scores.Probabilities]
    """By name: prior, volatility_bins, logistic_regression, each model, ensemble."""
    fold_log_loss: dict[str, list[float]]

    def table(self) -> dict[str, dict[str, float]]:
        """Return all scores of every name."""
        return {
            name: scores.all_scores(p, self.labels, self.moves)
            for name, p in self.predictions.items()
        }


def folds(times: npt.NDArray[np.int64], count: int, gap_ms: int) -> Iterator[Fold]:
    """Cut time into count + 1 equal spans; test each but the first on all rows before it.

    `gap_ms` is purge plus embargo: no training row's window ends within it before the test.
    """
    edges = np.linspace(times.min(), times.max() + 1, count + 2)
    for start, end in pairwise(edges[1:]):
        train = np.flatnonzero(times < start - gap_ms)
        test = np.flatnonzero((times >= start) & (times < end))
        if train.size and test.size:
            yield Fold(train, test)


def baselines(rows: Rows) -> dict[str, Predict]:
    """Fit what every model must beat: the classes' shares, volatility bins, logistic regression."""
    share = _shares(rows.labels)
    volatility = rows.features[:, _VOLATILITY]
    cuts = np.quantile(volatility, np.linspace(0, 1, VOLATILITY_BINS + 1)[1:-1])
    bins = np.digitize(volatility, cuts)
    table = np.stack([_shares(rows.labels[bins == b], share) for b in range(VOLATILITY_BINS)])
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    logistic.fit(rows.features.astype(np.float64), rows.labels)
    return {
        "prior": lambda f: np.tile(share, (f.shape[0], 1)),
        "volatility_bins": lambda f: table[np.digitize(f[:, _VOLATILITY], cuts)],
        "logistic_regression": lambda f: np.asarray(logistic.predict_proba(f.astype(np.float64))),
    }


def _shares(
    labels: scores.Labels, prior: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    counts = np.bincount(labels, minlength=3).astype(np.float64)
    if prior is not None:
        counts += prior
    shares: npt.NDArray[np.float64] = counts / counts.sum()
    return shares


def ensemble(
    members: dict[str, scores.Probabilities], weights: tuple[float, ...]
) -> scores.Probabilities:
    """Average members by weight."""
    shares = np.array(weights).reshape(-1, 1, 1)
    mean: scores.Probabilities = (shares * np.stack(list(members.values()))).sum(axis=0)
    return mean


def walk_forward(
    rows: Rows,
    plan: BoosterPlan,
    weights: tuple[float, ...],
    count: int,
    gap_ms: int,
    progress: Callable[[int], None],
) -> Measured:
    """Measure models and baselines on `count` steps; ValueError when no step has rows."""
    collected: dict[str, list[scores.Probabilities]] = {}
    losses: dict[str, list[float]] = {}
    tested: list[npt.NDArray[np.int64]] = []
    for fold in folds(rows.times, count, gap_ms):
        past, future = rows.take(fold.train), rows.take(fold.test)
        found = {name: predict(future.features) for name, predict in baselines(past).items()}
        fitted = fit_all(past.features, past.labels, plan)
        members = {model.name: model.predict(future.features) for model in fitted}
        found |= members | {"ensemble": ensemble(members, weights)}
        for name, probabilities in found.items():
            collected.setdefault(name, []).append(probabilities)
            losses.setdefault(name, []).append(scores.log_loss(probabilities, future.labels))
        tested.append(fold.test)
        progress(1)
    if not tested:
        raise ValueError(f"{rows.labels.size} rows are too few for a walk forward")
    chosen = np.concatenate(tested)
    joined = {name: np.concatenate(parts) for name, parts in collected.items()}
    return Measured(rows.labels[chosen], rows.moves[chosen], joined, losses)
