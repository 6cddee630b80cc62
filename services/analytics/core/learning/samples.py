"""What came of each prediction, for the ensemble and for each of its models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from services.analytics.core.learning.candle_book import CandleBook, SeriesKey
from services.trade.barrier_label import CLASS_NAMES, DOWN, FLAT, UP, LabelRule, label_moves
from services.trade.barrier_label import window_atr as atr_of
from services.trade.times import timeframe_ms

ENSEMBLE = "ensemble"
WINDOW = 128
"""Bars of the window that the average true range is taken of, as in the artifact."""
LATE_BARS = 2
"""Candles that are still missing so many bars after the horizon are not waited for."""
_LEAST = 1e-9

Probabilities = tuple[float, float, float]
"""Down, flat, up."""


class Stage(StrEnum):
    """How the predictions of an artifact were used."""

    ACTIVE = "active"
    SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class Voted:
    """What one model of the ensemble said."""

    model: str
    probabilities: Probabilities
    weight: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What an artifact said of one candle."""

    series: SeriesKey
    candle_open: int
    model_version: str
    stage: Stage
    probabilities: Probabilities
    votes: tuple[Voted, ...] = ()
    in_sample: bool = False

    @property
    def confidence(self) -> float:
        """Probability of the likelier direction."""
        return max(self.probabilities[DOWN], self.probabilities[UP])

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        """Candle and artifact: one answer counts, however often it is delivered."""
        key = self.series
        return (key.venue, key.symbol, key.timeframe, self.candle_open, self.model_version)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the market did after a candle, by the label that models are trained on."""

    label: int
    move: float
    """Return of a long entry that leaves at the barrier or at the horizon, before costs."""
    barrier: float
    """Distance of both barriers as a fraction of the entry."""
    atr: float
    """Average true range of the window as a fraction of its close."""
    last_return: float
    """Return of the candle itself."""

    @property
    def name(self) -> str:
        """`DOWN`, `FLAT` or `UP`."""
        return CLASS_NAMES[self.label].upper()


@dataclass(frozen=True, slots=True)
class Sample:
    """One model's word on one candle, and what came of it."""

    answer: Answer
    model: str
    probabilities: Probabilities
    weight: float
    outcome: Outcome
    contribution: float = 0.0
    """Log-loss that the ensemble would have lost without this model."""

    @property
    def prediction(self) -> str:
        """The class that it held for likeliest."""
        return CLASS_NAMES[_likeliest(self.probabilities)].upper()

    @property
    def hit(self) -> bool:
        """Whether the likeliest class came."""
        return _likeliest(self.probabilities) == self.outcome.label

    @property
    def direction_hit(self) -> bool | None:
        """Whether the likelier direction came; None when no barrier was reached."""
        if self.outcome.label == FLAT:
            return None
        return self._long == (self.outcome.label == UP)

    @property
    def r(self) -> float:
        """Result of following the likelier direction, in barriers, before costs."""
        return (1.0 if self._long else -1.0) * self.outcome.move / self.outcome.barrier

    @property
    def confidence(self) -> float:
        """Probability of the likelier direction."""
        return max(self.probabilities[DOWN], self.probabilities[UP])

    @property
    def confidence_hit(self) -> bool:
        """Whether the direction came that the confidence speaks of."""
        return self.outcome.label == (UP if self._long else DOWN)

    @property
    def log_loss(self) -> float:
        """Negative log-likelihood of the outcome, in nats."""
        return _loss(self.probabilities, self.outcome.label)

    @property
    def brier(self) -> float:
        """Squared distance to the outcome over the three classes."""
        return sum((p - (i == self.outcome.label)) ** 2 for i, p in enumerate(self.probabilities))

    @property
    def _long(self) -> bool:
        return self.probabilities[UP] > self.probabilities[DOWN]


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of a batch of answers."""

    samples: tuple[Sample, ...]
    unknown: int
    """Answers whose candles are missing: nothing is ever known of them."""


def due_before(newest: int, rule: LabelRule, timeframe: str) -> int:
    """Return the close time up to which answers can be judged, `newest` being the last close."""
    return newest - (rule.horizon + LATE_BARS) * timeframe_ms(timeframe)


def judge(answers: Sequence[Answer], book: CandleBook, rule: LabelRule) -> Judged:
    """Return the samples of answers that are due, in their order, ensemble first."""
    once = {answer.key: answer for answer in reversed(answers)}
    asked = [once[key] for key in sorted(once)]
    known, windows = [], []
    for answer in asked:
        bars = book.window(answer.series, answer.candle_open, WINDOW, rule.horizon)
        if bars is not None:
            known.append(answer)
            windows.append(bars)
    if not known:
        return Judged((), len(asked))
    outcomes = _outcomes(np.stack(windows), rule)
    samples = [
        sample
        for answer, outcome in zip(known, outcomes, strict=True)
        for sample in _samples(answer, outcome)
    ]
    return Judged(tuple(samples), len(asked) - len(known))


def _outcomes(windows: np.ndarray, rule: LabelRule) -> list[Outcome]:
    count, length, _ = windows.shape
    seen = windows[:, :WINDOW]
    atr = atr_of(seen)
    ends = np.arange(count, dtype=np.int64) * length + WINDOW - 1
    labels, moves = label_moves(windows.reshape(-1, windows.shape[2]), ends, atr, rule)
    barriers = np.maximum(rule.cost, rule.atr_multiple * atr)
    returns = seen[:, -1, 3] / seen[:, -2, 3] - 1.0
    columns = zip(labels, moves, barriers, atr, returns, strict=True)
    return [Outcome(int(c[0]), *(float(x) for x in c[1:])) for c in columns]


def _samples(answer: Answer, outcome: Outcome) -> list[Sample]:
    whole = Sample(answer, ENSEMBLE, answer.probabilities, 1.0, outcome)
    parts = [Sample(answer, v.model, v.probabilities, v.weight, outcome) for v in answer.votes]
    return [whole, *(replace(p, contribution=_contribution(p, answer)) for p in parts)]


def _contribution(part: Sample, answer: Answer) -> float:
    others = [v for v in answer.votes if v.model != part.model and v.weight > 0]
    if part.weight <= 0 or not others:
        return 0.0
    total = sum(v.weight for v in others)
    label = part.outcome.label
    without = sum(v.weight * v.probabilities[label] for v in others) / total
    within = answer.probabilities[label]
    return math.log(max(within, _LEAST)) - math.log(max(without, _LEAST))


def _likeliest(probabilities: Probabilities) -> int:
    return max(range(3), key=lambda i: (probabilities[i], -i))


def _loss(probabilities: Probabilities, label: int) -> float:
    return -math.log(max(probabilities[label], _LEAST))
