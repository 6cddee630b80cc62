"""Two artifacts on the same recorded candles: how often they agree, and which one is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.ai.core.ensemble import threshold_for
from services.lab.training import scores
from services.lab.training.artifact import Artifact
from services.lab.training.data import Series
from services.lab.training.shelf import GRAPH, Shelved
from services.trade.barrier_label import LabelRule, label_moves
from services.trade.times import timeframe_ms

_BATCH = 256
SHARE = 0.05
"""Share of candles at whose gate the two are compared."""

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """What one artifact says of the rows."""

    version: str
    scores: dict[str, float]
    in_sample: float
    """Share of the rows that lie in its training range: a good score on them proves nothing."""
    gated: float
    """Share of the rows at or above its own gate."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Two artifacts on the same rows."""

    rows: int
    symbols: int
    first: Judged
    second: Judged
    same_side: float
    """Share of the rows on which both advise the same side."""
    same_signals: float
    """Rows that pass both gates on the same side, of those that pass either; 1 when none does."""
    correlation: float
    """Of the two margins between up and down."""
    log_loss_difference: float
    """Second less first, in nats: below 0 the second is better."""
    interval: tuple[float, float]
    """95 % of the difference, by resampling days."""

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def compare(
    first: Shelved,
    second: Shelved,
    series: Sequence[Series],
    rule: LabelRule,
    every: int,
    progress: Callable[[int], None],
) -> Compared:
    """Ask both of every `every`-th bar; ValueError when they cannot be compared on these candles.

    Labels are made by one rule for both, with the first one's measure of volatility.
    """
    length = _window(first, second, series)
    graphs = [Artifact(each.files[GRAPH]) for each in (first, second)]
    parts = [_ask(one, graphs, length, rule, every, progress) for one in series]
    said = [np.concatenate([part[i] for part in parts]) for i in range(2)]
    labels, moves, times = (np.concatenate([part[i] for part in parts]) for i in (2, 3, 4))
    if not labels.size:
        raise ValueError("the candles are too few for one window")
    sides = [scores.advised_side(p) for p in said]
    passed = [
        scores.confidence(p) >= threshold_for(each.manifest, SHARE)
        for p, each in zip(said, (first, second), strict=True)
    ]
    either = (passed[0] | passed[1]).sum()
    same = sides[0] == sides[1]
    judged = [
        Judged(
            version=each.manifest.version,
            scores=scores.all_scores(p, labels, moves),
            in_sample=float(np.mean(_seen(each, times))),
            gated=float(gate.mean()),
        )
        for each, p, gate in zip((first, second), said, passed, strict=True)
    ]
    difference = _losses(said[1], labels) - _losses(said[0], labels)
    return Compared(
        rows=int(labels.size),
        symbols=len({one.symbol for one in series}),
        first=judged[0],
        second=judged[1],
        same_side=float(same.mean()),
        same_signals=float((passed[0] & passed[1] & same).sum() / either) if either else 1.0,
        correlation=_correlation(said[0], said[1]),
        log_loss_difference=float(difference.mean()),
        interval=_interval(difference, times),
    )


def _window(first: Shelved, second: Shelved, series: Sequence[Series]) -> int:
    timeframes = {one.timeframe for one in series}
    timeframes |= {each.manifest.timeframe for each in (first, second)}
    lengths = {each.manifest.window for each in (first, second)}
    if len(timeframes) != 1 or len(lengths) != 1:
        raise ValueError(
            f"they read {sorted(lengths)} bars of {sorted(timeframes)}: one of each is comparable"
        )
    return lengths.pop()


def _ask(
    series: Series,
    graphs: Sequence[Artifact],
    length: int,
    rule: LabelRule,
    every: int,
    progress: Callable[[int], None],
) -> tuple[npt.NDArray[Any], ...]:
    ends = np.arange(length - 1, series.times.size - rule.horizon, every, dtype=np.int64)
    if not ends.size:  # the series is shorter than one window and its label
        none = np.zeros(0, dtype=np.int64)
        return np.zeros((0, 3)), np.zeros((0, 3)), none, np.zeros(0), none
    views = np.lib.stride_tricks.sliding_window_view(series.bars.astype(np.float32), length, axis=0)
    said: list[list[npt.NDArray[Any]]] = [[], []]
    valid, atr = [], []
    for start in range(0, ends.size, _BATCH):
        chosen = ends[start : start + _BATCH]
        padded = np.pad(chosen, (0, -chosen.size % 8), mode="edge")
        windows = np.ascontiguousarray(views[padded - length + 1].transpose(0, 2, 1))
        found = [graph.run(windows) for graph in graphs]
        for held, run in zip(said, found, strict=True):
            held.append(run["probs"][: chosen.size])
        valid.append(np.logical_and(found[0]["valid"], found[1]["valid"])[: chosen.size])
        atr.append(found[0]["atr_fraction"][: chosen.size])
        progress(int(chosen.size))
    good = np.concatenate(valid).astype(bool)
    ends = ends[good]
    labels, moves = label_moves(series.bars, ends, np.concatenate(atr)[good], rule)
    times = series.times[ends] + timeframe_ms(series.timeframe)
    asked = [np.concatenate(held)[good].astype(np.float64) for held in said]
    return asked[0], asked[1], labels, moves, times


def _seen(artifact: Shelved, times: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    manifest = artifact.manifest
    return np.asarray((times > manifest.trained_from) & (times <= manifest.trained_to))


def _losses(said: Probabilities, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.asarray(-np.log(np.maximum(said[np.arange(labels.size), labels], 1e-9)))


def _correlation(first: Probabilities, second: Probabilities) -> float:
    margins = [p[:, 2] - p[:, 0] for p in (first, second)]
    if min(float(m.std()) for m in margins) < 1e-12:
        return 0.0
    return float(np.asarray(np.corrcoef(np.stack(margins)))[0, 1])


def _interval(
    difference: npt.NDArray[np.float64], times: npt.NDArray[np.int64]
) -> tuple[float, float]:
    days = times // 86_400_000
    sums = np.array([(difference[days == d].sum(), (days == d).sum()) for d in np.unique(days)])
    chosen = np.random.default_rng(1).integers(0, len(sums), (1_000, len(sums)))
    totals = sums[chosen].sum(axis=1)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], (0.025, 0.975))
    return float(low), float(high)
