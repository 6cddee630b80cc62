"""The model supervisor: a score and a status for each model, and shares that follow from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.analytics.core.learning.tally import Tally, interval

FEW = 20
"""Below so many samples nothing is said, and the score is halved."""
_SHARE_OF = {"direction": 0.35, "r": 0.35, "calibration": 0.20, "profit_factor": 0.10}
_TREND = 0.15
_LEAST_DIRECTION = 0.50
_LEAST_CALIBRATION = 0.70
_URGENT_DIRECTION = 0.40
_URGENT_R = -0.5
_LEARNING_RATE = 10.0
"""A model whose log-loss is 0.01 above the mean gets a tenth less."""
_LEAST_FACTOR, _MOST_FACTOR = 0.5, 1.5
_STEP = 0.02
"""Most that a share moves at once."""
_WORTH = 0.005
"""A proposal that moves no share by more is not made."""
WEIGHT_SAMPLES = 1000
"""Samples of each model before shares are touched."""


class Status(StrEnum):
    """How a model does."""

    UNKNOWN = "UNKNOWN"
    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    CRITICAL = "CRITICAL"


class Trend(StrEnum):
    """The newer half of a window against the older one."""

    IMPROVING = "improving"
    STABLE = "stable"
    WORSENING = "worsening"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the supervisor says of a model."""

    score: float
    status: Status
    trend: Trend
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """Shares to be set, and why."""

    weights: Mapping[str, float]
    reasons: tuple[str, ...]


def verdict(found: Tally, older: Tally, newer: Tally) -> Verdict:
    """Judge a model by a window and its two halves."""
    status, reasons = status_of(found)
    return Verdict(score_of(found), status, trend_of(older, newer), reasons)


def status_of(found: Tally) -> tuple[Status, tuple[str, ...]]:
    """Return how a model does; what chance explains is not held against it."""
    if found.samples < FEW:
        return Status.UNKNOWN, (f"{found.samples:.0f} outcomes are too few to say",)
    urgent = urgent_reasons(found)
    if urgent:
        return Status.CRITICAL, urgent
    reasons = []
    _, best = interval(found.direction_hits, found.decided)
    if best < _LEAST_DIRECTION:
        reasons.append(f"direction hit in {found.direction_hit_rate:.1%} of moves, below 50 %")
        if found.average_r < 0:
            reasons.append(f"following it lost {-found.average_r:.2f} barriers a prediction")
    if 1.0 - found.calibration_error < _LEAST_CALIBRATION:
        reasons.append(f"calibration error {found.calibration_error:.1%}, above 30 %")
    return (Status.DEGRADED if reasons else Status.HEALTHY), tuple(reasons)


def urgent_reasons(found: Tally) -> tuple[str, ...]:
    """Return why a model must be trained anew now; nothing when it need not."""
    if found.samples < FEW:
        return ()
    reasons = []
    _, best = interval(found.direction_hits, found.decided)
    if best < _URGENT_DIRECTION:
        reasons.append(f"direction hit in {found.direction_hit_rate:.1%} of moves, below 40 %")
    if found.average_r < _URGENT_R:
        reasons.append(f"following it lost {-found.average_r:.2f} barriers a prediction")
    return tuple(reasons)


def score_of(found: Tally) -> float:
    """Return .35 direction + .35 R + .20 calibration + .10 profit factor / 10, 0 to 1.

    Halved below twenty samples, times 0.8 when degraded, halved when critical.
    """
    parts = {
        "direction": found.direction_hit_rate,
        "r": max(-1.0, min(1.0, found.average_r)),
        "calibration": 1.0 - found.calibration_error if found.samples else 0.0,
        "profit_factor": found.profit_factor / 10.0,
    }
    score = sum(_SHARE_OF[name] * part for name, part in parts.items())
    status, _ = status_of(found)
    factor = {Status.UNKNOWN: 0.5, Status.DEGRADED: 0.8, Status.CRITICAL: 0.5}.get(status, 1.0)
    return max(0.0, min(1.0, score * factor))


def trend_of(older: Tally, newer: Tally) -> Trend:
    """Compare the scores of two spans: 15 % apart is a trend."""
    if min(older.samples, newer.samples) < FEW:
        return Trend.STABLE
    before, after = score_of(older), score_of(newer)
    if before <= 0:
        return Trend.STABLE
    change = after / before - 1.0
    if abs(change) < _TREND:
        return Trend.STABLE
    return Trend.IMPROVING if change > 0 else Trend.WORSENING


def propose_weights(
    own: Mapping[str, float], current: Mapping[str, float], found: Mapping[str, Tally]
) -> Proposal | None:
    """Return shares a small step nearer to what the models' log-loss deserves; None when none is.

    `own` are the artifact's shares. A share stays within half and one and a half of its own,
    before all are brought to a sum of 1.
    """
    if set(own) != set(found) or min(t.samples for t in found.values()) < WEIGHT_SAMPLES:
        return None
    mean = sum(own[name] * found[name].log_loss for name in own)
    deserved = {}
    for name, share in own.items():
        factor = math.exp(-_LEARNING_RATE * (found[name].log_loss - mean))
        deserved[name] = share * max(_LEAST_FACTOR, min(_MOST_FACTOR, factor))
    target = _shares(deserved)
    held = {name: current.get(name, own[name]) for name in own}
    furthest = max(abs(target[name] - held[name]) for name in own)
    if furthest < _WORTH:
        return None
    part = min(1.0, _STEP / furthest)
    moved = {name: held[name] + part * (target[name] - held[name]) for name in own}
    reasons = tuple(
        f"{name}: log-loss {found[name].log_loss:.4f} over {found[name].samples:.0f} outcomes"
        f" (mean {mean:.4f}), share {held[name]:.3f} to {moved[name]:.3f}"
        for name in sorted(own)
    )
    return Proposal(moved, reasons)


def _shares(numbers: Mapping[str, float]) -> dict[str, float]:
    total = sum(numbers.values())
    return {name: number / total for name, number in numbers.items()}
