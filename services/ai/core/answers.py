"""Answer candles: which windows the models are asked about, and what their outputs mean.

The shell runs the models between `ask` and `answer`; the backtest does the same with no network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from services.ai.core.ensemble import (
    Gate,
    HoldReason,
    Prediction,
    decide,
    hold,
)
from services.ai.core.fund import combined
from services.ai.core.manifest import Manifest
from services.ai.core.outputs import Outputs
from services.ai.core.signals import Signal, make_signal
from services.ai.core.watch import ModelWatch
from services.ai.core.windows import Floats, Windows
from services.trade.candle import Candle
from services.trade.ids import digest

_ASKED = HoldReason.NONE
_NO_WINDOWS: Floats = np.empty((0, 0, 0), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Policy:
    """What decides besides the models."""

    gate: Gate
    ttl_ms: int
    """How long after its candle's close a signal may be acted on."""
    weights: tuple[float, ...] = ()
    """Shares of the models that the fund asks for; empty: the artifact's own."""


class Question(NamedTuple):
    """A candle to answer, and why the models are not asked about it, if they are not."""

    candle: Candle
    reason: HoldReason = HoldReason.NONE
    stale: bool = False
    weights: tuple[float, ...] = ()
    """Effective shares of the models; 0 is an excluded one."""
    gate: Gate | None = None
    """Gate of its market time; None: that of the answer's policy."""


class Asked(NamedTuple):
    """The questions of a round."""

    questions: list[Question]
    windows: Floats
    """[rows, bars, 5]: what the models are asked, a row of each question that asks them."""
    weights: tuple[float, ...]
    """Effective shares of the models."""


class Answer(NamedTuple):
    """A prediction and the signal that it makes, if any."""

    prediction: Prediction
    signal: Signal | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Answers of one venue, timeframe and round, by symbol."""

    venue: str
    timeframe: str
    close_time: int
    answers: tuple[Answer, ...]
    model_version: str
    in_sample: bool

    @property
    def message_id(self) -> str:
        """Id that is the same for the same candles and model."""
        keys = [answer.prediction.candle.key for answer in self.answers]
        return "prd-" + digest("prediction", self.model_version, *keys, length=28)


def ask(
    candles: Sequence[Candle],
    windows: Windows,
    manifest: Manifest,
    policy: Policy,
    watch: ModelWatch | None = None,
) -> Asked:
    """Return what to ask about candles of one venue and round that the windows have seen.

    `watch` knows which models are excluded; without it none is.
    """
    first = candles[0]
    if first.timeframe != manifest.timeframe:
        others = [Question(candle, HoldReason.OTHER_TIMEFRAME) for candle in candles]
        return Asked(others, _NO_WINDOWS, manifest.weights)
    closes = first.close_time
    stale = windows.newest_close(first.venue) > closes + policy.ttl_ms
    watched = watch.weights(manifest, closes) if watch else manifest.weights
    weights = combined(policy.weights, watched)
    whole, found = windows.windows(candles, manifest.window)
    questions = [
        Question(candle, HoldReason.NONE, stale, weights, policy.gate)
        if warm
        else Question(candle, HoldReason.NOT_WARM)
        for candle, warm in zip(candles, whole, strict=True)
    ]
    return Asked(questions, found, weights)


def answer(
    questions: Sequence[Question], outputs: Outputs, manifest: Manifest, policy: Policy
) -> list[Answer]:
    """Return an answer to each question; `outputs` are those of the questions that asked."""
    asked = [question for question in questions if question.reason is _ASKED]
    decided = iter(
        decide(
            [question.candle for question in asked],
            outputs,
            manifest.models,
            [question.weights or manifest.weights for question in asked],
            [question.gate or policy.gate for question in asked],
            [question.stale for question in asked],
        )
    )
    predictions = [
        next(decided) if question.reason is _ASKED else hold(question.candle, question.reason)
        for question in questions
    ]
    return [Answer(p, make_signal(p, manifest, policy.ttl_ms)) for p in predictions]


def batches(answers: Iterable[Answer], manifest: Manifest) -> list[Batch]:
    """Group answers by venue, timeframe and round; a candle answered twice appears once."""
    unique = {_place(a): a for a in answers}
    ordered = sorted(unique.items(), key=itemgetter(0))
    return [
        _batch([item for _, item in group], manifest)
        for _, group in groupby(ordered, lambda placed: placed[0][:3])
    ]


def _place(item: Answer) -> tuple[int, str, str, str]:
    candle = item.prediction.candle
    return candle.close_time, candle.venue, candle.timeframe, candle.symbol


def _batch(group: Sequence[Answer], manifest: Manifest) -> Batch:
    first = group[0].prediction.candle
    return Batch(
        venue=first.venue,
        timeframe=first.timeframe,
        close_time=first.close_time,
        answers=tuple(group),
        model_version=manifest.version,
        in_sample=manifest.in_sample(first.open_time, first.close_time),
    )
