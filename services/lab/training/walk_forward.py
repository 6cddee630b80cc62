"""Honest measuring: train on the past, purge what overlaps, wait an embargo, test on the future.

A label looks `purge` bars beyond its window, so rows that end less than that before the test
begins are dropped from training; the embargo drops a window's length more, since features of
neighbouring windows share bars.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from services.lab.training import scores
from services.lab.training.baselines import baselines
from services.lab.training.data import Inputs, Rows
from services.lab.training.kept import Kept
from services.lab.training.members import Fits, MemberPlan, fit_members, mean_of, predict_graph

ENSEMBLE = "ensemble"


@dataclass(frozen=True, slots=True)
class Fold:
    """Row numbers of one step forward."""

    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Measured:
    """Out-of-sample predictions of all folds together."""

    rows: Rows
    """The tested rows, in the order of the predictions."""
    fold: npt.NDArray[np.int64]
    """Number of each row's fold."""
    predictions: dict[str, scores.Probabilities]
    """By name: the baselines, each model, the ensemble."""

    def table(self) -> dict[str, dict[str, float]]:
        """Return all scores of every name."""
        return {
            name: scores.all_scores(p, self.rows.labels, self.rows.moves)
            for name, p in self.predictions.items()
        }

    def tables_by(
        self, groups: npt.NDArray[np.int64] | npt.NDArray[np.str_]
    ) -> dict[str, dict[str, dict[str, float]]]:
        """Return a table for each group of rows: folds, symbols."""
        found = {}
        for group in np.unique(groups).tolist():
            chosen = groups == group
            part = {name: p[chosen] for name, p in self.predictions.items()}
            found[str(group)] = Measured(self.rows.take(chosen), self.fold[chosen], part).table()
        return found


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


def walk_forward(
    rows: Rows,
    plan: MemberPlan,
    count: int,
    gap_ms: int,
    check: Inputs,
    kept: Kept,
    progress: Callable[[int], None],
) -> Measured:
    """Measure models and baselines on `count` steps; ValueError when no step has rows.

    What is kept of a fold is not computed again. `progress` is told how many fits were done.
    """
    parts: list[Mapping[str, scores.Probabilities]] = []
    tested, numbers = [], []
    for number, fold in enumerate(folds(rows.times, count, gap_ms)):
        found = kept.read(f"fold-{number}")
        if found is None or any(p.shape != (fold.test.size, 3) for p in found.values()):
            fits = Fits(f"fold-{number}", check, kept, lambda: progress(1))
            found = _measure(rows.take(fold.train), rows.take(fold.test), plan, fits)
            kept.write(f"fold-{number}", found)
        else:
            progress(len(plan.models))
        parts.append(found)
        tested.append(fold.test)
        numbers.append(np.full(fold.test.size, number, dtype=np.int64))
    if not tested:
        raise ValueError(f"{rows.labels.size} rows are too few for a walk forward")
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Measured(rows.take(np.concatenate(tested)), np.concatenate(numbers), joined)


def _measure(
    past: Rows, future: Rows, plan: MemberPlan, fits: Fits
) -> dict[str, scores.Probabilities]:
    found = {name: predict(future.features) for name, predict in baselines(past).items()}
    fitted = fit_members(past.inputs, past.labels, plan, fits)
    members = {one.name: predict_graph(one.model, future.inputs) for one in fitted}
    return found | members | {ENSEMBLE: mean_of(list(members.values()), plan.weights)}
