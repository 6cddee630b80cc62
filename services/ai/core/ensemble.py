"""From model outputs to a prediction: direction, confidence, votes, and the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.ai.core.manifest import Manifest
from services.ai.core.outputs import Doubles, ModelOutput, Outputs
from services.trade.candle import Candle

DOWN, FLAT, UP = 0, 1, 2
_LEAST, _MOST, _SLACK = -1e-6, 1.0 + 1e-6, 1e-3
"""What float32 may miss of a probability, and of a sum of them."""
IMPASSABLE = 1.1
"""A threshold that no confidence reaches."""


class Action(StrEnum):
    """What a prediction advises."""

    BUY = "BUY"
    SELL = "SELL"
    HOLD = "HOLD"


class HoldReason(StrEnum):
    """Why a prediction makes no signal."""

    NONE = ""
    INVALID_WINDOW = "invalid_window"
    """A bar of the window breaks a rule, or a model answered something that is no number."""
    NOT_WARM = "not_warm"
    """The window is not whole: too short a history, or a gap."""
    OTHER_TIMEFRAME = "other_timeframe"
    """The models were trained on another timeframe."""
    SPLIT_VOTE = "split_vote"
    BELOW_THRESHOLD = "below_threshold"
    STALE = "stale"
    """The market has moved past the time at which a signal of this candle would expire."""


MIN_AGREEMENT = 0.75
"""Share of the artifact's models that must vote for the advised side."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Which predictions become signals."""

    threshold: float
    """Least confidence."""
    min_agreement: float = MIN_AGREEMENT
    """Least share of the models that must vote for the advised side; an excluded one does not."""
    wild_threshold: float | None = None
    """Least confidence in high volatility; the common one when not set."""
    wild_from: float = inf
    """ATR, as a fraction of price, at which high volatility begins."""

    def least(self, atr_fraction: float) -> float:
        """Return the least confidence for a window."""
        if self.wild_threshold is None or atr_fraction < self.wild_from:
            return self.threshold
        return self.wild_threshold


@dataclass(frozen=True, slots=True)
class Vote:
    """What one model says; probabilities, and its share in the ensemble."""

    model: str
    p_down: float
    p_flat: float
    p_up: float
    weight: float

    @property
    def side(self) -> Action:
        """The likelier direction; HOLD when neither is."""
        return _side(self.p_down, self.p_up)


class Prediction(NamedTuple):
    """The ensemble's answer to one closed candle; a tuple, as one is made of every candle."""

    candle: Candle
    action: Action
    confidence: float
    """Probability of the likelier direction, 0 to 1; 0 when the models could not be asked."""
    hold_reason: HoldReason = HoldReason.NONE
    agreement: float = 0.0
    """Share of the models that vote for the likelier side; an excluded one votes for none."""
    outputs: Outputs | None = None
    """What the artifact said, of other candles too; None when it could not be asked."""
    row: int = 0
    """Place of this candle in it."""
    models: Sequence[str] = ()
    weights: Sequence[float] = ()
    """Effective share of each model."""

    @property
    def output(self) -> ModelOutput | None:
        """What the artifact said; made when asked for, as most predictions only hold."""
        return None if self.outputs is None else self.outputs.row(self.row)

    @property
    def probabilities(self) -> tuple[float, float, float]:
        """Ensemble: down, flat, up."""
        output = self.output
        return (0.0, 0.0, 0.0) if output is None else output.probabilities

    @property
    def atr_fraction(self) -> float:
        """Average true range of the window as a fraction of price."""
        output = self.output
        return 0.0 if output is None else output.atr_fraction

    @property
    def votes(self) -> tuple[Vote, ...]:
        """What each model says."""
        output = self.output
        if output is None:
            return ()
        said = zip(self.models, output.model_probabilities, self.weights, strict=True)
        return tuple(Vote(name, p[DOWN], p[FLAT], p[UP], weight) for name, p, weight in said)

    @property
    def score(self) -> float:
        """Margin between the two directions, 0 to 1."""
        return abs(self.probabilities[UP] - self.probabilities[DOWN])


SHARES = {"NORMAL": 0.05, "AGGRESSIVE": 0.10, "SAFE": 0.01, "CRITICAL": 0.0}
"""Share of candles that may become signals, by safety level."""


def threshold_for(manifest: Manifest, share: float) -> float:
    """Return the confidence that this share of candles reached out of sample.

    Between known shares the number is interpolated; below the smallest known share its number
    stays; a share of 0 lets nothing pass.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share {share} is not between 0 and 1")
    if share == 0.0:
        return IMPASSABLE
    known = [*manifest.confidence_quantiles, (1.0, 0.0)]
    lower_share, lower = 0.0, known[0][1]
    for upper_share, upper in known:
        if share <= upper_share:
            part = (share - lower_share) / (upper_share - lower_share)
            return lower + part * (upper - lower)
        lower_share, lower = upper_share, upper
    return 0.0


def make_gate(manifest: Manifest, share: float, floor: float | None) -> Gate:
    """Return the gate for a share of candles; `floor` is an absolute least besides.

    High volatility halves the share.
    """
    least = 0.0 if floor is None else floor
    return Gate(
        threshold=max(threshold_for(manifest, share), least),
        wild_threshold=max(threshold_for(manifest, share / 2), least),
        wild_from=manifest.high_volatility_atr,
    )


def hold(candle: Candle, reason: HoldReason) -> Prediction:
    """Return the answer to a candle that the models were not asked about."""
    return Prediction(candle, Action.HOLD, 0.0, hold_reason=reason)


def decide(
    candles: Sequence[Candle],
    outputs: Outputs,
    models: Sequence[str],
    weights: Sequence[Sequence[float]],
    gates: Sequence[Gate],
    stale: Sequence[bool],
) -> list[Prediction]:
    """Return the answers to candles, all at once. Confidence is the models' own; nothing raises it.

    A model of weight 0 is excluded: it is shown, and does not vote.
    """
    if not candles:
        return []
    down, up = outputs.probabilities[:, 0], outputs.probabilities[:, 2]
    sides = _sides(down, up)
    shares = _agreements(sides, outputs.model_probabilities, np.array(weights)).tolist()
    confidences = np.minimum(1.0, np.maximum(down, up)).tolist()
    rows = zip(
        candles,
        (outputs.valid & _sane(outputs)).tolist(),
        sides.tolist(),
        confidences,
        shares,
        outputs.atr_fraction.tolist(),
        weights,
        gates,
        stale,
        strict=True,
    )
    found = []
    for row, (candle, sane, side, confidence, share, atr, weighed, gate, late) in enumerate(rows):
        if not sane:
            found.append(hold(candle, HoldReason.INVALID_WINDOW))
            continue
        reason = _NONE
        if late:
            reason = _STALE
        elif not side or share < gate.min_agreement:
            reason = _SPLIT_VOTE
        elif confidence < gate.least(atr):
            reason = _BELOW_THRESHOLD
        action = _HOLD if reason is not _NONE else _BUY if side > 0 else _SELL
        found.append(
            Prediction(candle, action, confidence, reason, share, outputs, row, models, weighed)
        )
    return found


_BUY, _SELL, _HOLD = Action.BUY, Action.SELL, Action.HOLD
_NONE, _STALE = HoldReason.NONE, HoldReason.STALE
_SPLIT_VOTE, _BELOW_THRESHOLD = HoldReason.SPLIT_VOTE, HoldReason.BELOW_THRESHOLD

_Sides = npt.NDArray[np.int8]


def _sides(down: Doubles, up: Doubles) -> _Sides:
    """Return the likelier direction: 1 up, -1 down, 0 neither."""
    return (up > down).astype(np.int8) - (down > up).astype(np.int8)


def _agreements(sides: _Sides, said: Doubles, weights: Doubles) -> Doubles:
    """Return the share of the models that vote for a side; one of weight 0 does not vote."""
    votes = _sides(said[:, :, 0], said[:, :, 2])
    agreed = (votes == sides[:, None]) & (weights > 0.0)
    shares: Doubles = np.count_nonzero(agreed, axis=1) / said.shape[1]
    return shares


def _side(down: float, up: float) -> Action:
    if up == down:
        return Action.HOLD
    return Action.BUY if up > down else Action.SELL


def _sane(outputs: Outputs) -> npt.NDArray[np.bool_]:
    said = np.concatenate((outputs.probabilities[:, None], outputs.model_probabilities), axis=1)
    with np.errstate(all="ignore"):
        misses = np.abs(said[:, :, 0] + said[:, :, 1] + said[:, :, 2] - 1.0)
    # A number that is none passes no comparison.
    fine = ((said >= _LEAST) & (said <= _MOST)).all(axis=(1, 2)) & (misses < _SLACK).all(axis=1)
    return fine & (outputs.atr_fraction >= 0.0) & (outputs.atr_fraction < inf)
