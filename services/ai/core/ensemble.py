"""From model outputs to a prediction: direction, confidence, votes, and the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf

from services.ai.core.manifest import Manifest
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


_DIRECTIONS = {Action.BUY: 1, Action.SELL: -1, Action.HOLD: 0}


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


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """What the artifact says of one window."""

    valid: bool
    atr_fraction: float
    probabilities: tuple[float, float, float]
    """Ensemble: down, flat, up."""
    model_probabilities: tuple[tuple[float, float, float], ...]
    """Each model, in the manifest's order."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The ensemble's answer to one closed candle."""

    candle: Candle
    action: Action
    confidence: float
    """Probability of the likelier direction, 0 to 1; 0 when the models could not be asked."""
    hold_reason: HoldReason = HoldReason.NONE
    agreement: float = 0.0
    """Share of the models that vote for the likelier side; an excluded one votes for none."""
    output: ModelOutput | None = None
    """What the artifact said; None when it could not be asked."""
    models: Sequence[str] = ()
    weights: Sequence[float] = ()
    """Effective share of each model."""

    @property
    def probabilities(self) -> tuple[float, float, float]:
        """Ensemble: down, flat, up."""
        return (0.0, 0.0, 0.0) if self.output is None else self.output.probabilities

    @property
    def atr_fraction(self) -> float:
        """Average true range of the window as a fraction of price."""
        return 0.0 if self.output is None else self.output.atr_fraction

    @property
    def votes(self) -> tuple[Vote, ...]:
        """What each model says; made when asked for, as most predictions only hold."""
        if self.output is None:
            return ()
        said = zip(self.models, self.output.model_probabilities, self.weights, strict=True)
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
    candle: Candle,
    output: ModelOutput,
    models: Sequence[str],
    weights: Sequence[float],
    gate: Gate,
    *,
    stale: bool = False,
) -> Prediction:
    """Return the answer to a candle. Confidence is the models' own; nothing raises it.

    A model of weight 0 is excluded: it is shown, and does not vote.
    """
    if not output.valid or not _sane(output):
        return hold(candle, HoldReason.INVALID_WINDOW)
    down, _, up = output.probabilities
    side = _side(down, up)
    agreement = _agreement(side, output.model_probabilities, weights)
    confidence = min(1.0, max(down, up))
    least = gate.least(output.atr_fraction)
    reason = _hold_reason(side, confidence >= least, agreement >= gate.min_agreement, stale=stale)
    return Prediction(
        candle,
        Action.HOLD if reason else side,
        confidence,
        reason,
        agreement,
        output,
        models,
        weights,
    )


def _agreement(
    side: Action, said: Sequence[tuple[float, float, float]], weights: Sequence[float]
) -> float:
    """Return the share of the models that vote for a side; one of weight 0 does not vote."""
    wanted = _DIRECTIONS[side]
    agreed = 0
    for (down, _, up), weight in zip(said, weights, strict=True):
        if weight > 0.0 and (up > down) - (down > up) == wanted:
            agreed += 1
    return agreed / len(said)


def _hold_reason(side: Action, sure: bool, agreed: bool, *, stale: bool) -> HoldReason:
    if stale:
        return HoldReason.STALE
    if side is Action.HOLD or not agreed:
        return HoldReason.SPLIT_VOTE
    if not sure:
        return HoldReason.BELOW_THRESHOLD
    return HoldReason.NONE


def _side(down: float, up: float) -> Action:
    if up == down:
        return Action.HOLD
    return Action.BUY if up > down else Action.SELL


def _sane(output: ModelOutput) -> bool:
    for down, flat, up in (output.probabilities, *output.model_probabilities):
        # A number that is none passes no comparison.
        if not (
            _LEAST <= down <= _MOST
            and _LEAST <= flat <= _MOST
            and _LEAST <= up <= _MOST
            and -_SLACK < down + flat + up - 1.0 < _SLACK
        ):
            return False
    return 0.0 <= output.atr_fraction < inf
