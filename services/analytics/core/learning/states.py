"""Continuous learning as values: the stages, the state, the rules, and what is seen and told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from services.analytics.core.learning.promotion_watch import Outcome
from services.analytics.core.learning.tally import NOTHING, Tally

HOUR_MS = 3_600_000


class LearningStage(StrEnum):
    """Where the loop stands."""

    IDLE = "IDLE"
    REQUESTED = "REQUESTED"
    TRAINING = "TRAINING"
    SHADOW = "SHADOW"
    PROMOTED = "PROMOTED"
    ROLLED_BACK = "ROLLED_BACK"
    FAILED = "FAILED"


class Step(StrEnum):
    """What happened, as it is published."""

    DRIFT_DETECTED = "DRIFT_DETECTED"
    RETRAINING_REQUESTED = "RETRAINING_REQUESTED"
    RETRAINING_STARTED = "RETRAINING_STARTED"
    RETRAINING_PROGRESS = "RETRAINING_PROGRESS"
    RETRAINING_COMPLETED = "RETRAINING_COMPLETED"
    RETRAINING_FAILED = "RETRAINING_FAILED"
    MODEL_SHADOWED = "MODEL_SHADOWED"
    MODEL_UPDATED = "MODEL_UPDATED"
    MODEL_DROPPED = "MODEL_DROPPED"
    MODEL_ROLLED_BACK = "MODEL_ROLLED_BACK"
    MODEL_CONFIRMED = "MODEL_CONFIRMED"
    WEIGHTS_CHANGED = "WEIGHTS_CHANGED"
    GIVEN_UP = "GIVEN_UP"


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of the loop; times in milliseconds of market time."""

    retrain_every: int = 168 * HOUR_MS
    shadow_least: int = 24 * HOUR_MS
    shadow_most: int = 72 * HOUR_MS
    watch: int = 24 * HOUR_MS
    pause: int = 6 * HOUR_MS
    """Between the end of one job and the next, whatever asks for it; doubled by each failure."""
    samples: int = 100
    """Outcomes of either artifact that a comparison needs."""
    gain: float = 0.02
    """Part by which the new hit rate must exceed the old one."""
    drop: float = 0.05
    """Points of hit rate by which a promoted artifact may fall behind the one before."""
    failures: int = 3
    """Failed trainings in a row after which only a person asks for the next."""


@dataclass(frozen=True, slots=True)
class Learning:
    """The state of the loop; everything it decides on."""

    stage: LearningStage = LearningStage.IDLE
    since: int = 0
    job_id: str = ""
    before: str = ""
    """Artifact that was active when the job began."""
    candidate: str = ""
    """Artifact that the job made."""
    reasons: tuple[str, ...] = ()
    progress: float = 0.0
    failures: int = 0
    began: int = 0
    """Market time at which the loop first looked: the first schedule counts from it."""
    last_retrain: int = 0
    """Market time at which the last artifact was made; 0 when none was."""
    not_before: int = 0
    """No job begins earlier, unless a person asks for it."""
    triggered: int = 0
    asked: str = ""
    """A person's reason for a training that waits; empty when none does."""
    standard: Tally = NOTHING
    """What the artifact before did while the new one was in its shadow."""
    settled: bool = False
    """True once the artifacts were seen where the stage wants them."""

    @property
    def busy(self) -> bool:
        """True while a job is under way, from the request to the end of the watch."""
        return self.stage not in (LearningStage.IDLE, LearningStage.FAILED)


@dataclass(frozen=True, slots=True)
class Told:
    """A step to publish."""

    step: Step
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A new state, and the steps that led to it."""

    state: Learning
    told: tuple[Told, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """What is known at one market time."""

    now: int
    enabled: bool
    active: str
    """Version that makes the signals; empty while it is not known."""
    shadow: str = ""
    """Version that answers beside it; empty when none does."""
    urgent: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    candidate: Tally = NOTHING
    """What came of the new artifact's predictions since the stage began."""
    trades: tuple[Outcome, ...] = ()
    """Trades that the new artifact's signals led to and that are closed."""
    active_tally: Tally = NOTHING
    """What came of the active artifact's predictions on the same span."""


def ask(state: Learning, reason: str) -> tuple[Learning, bool]:
    """Take a person's request; False when a job is under way or one waits already."""
    if state.busy or state.asked:
        return state, False
    return replace(state, asked=reason or "asked for"), True


def wanted(state: Learning) -> tuple[str | None, str | None]:
    """Return the artifacts that are to be (active, shadow) now; None where it does not matter."""
    if state.settled:
        return None, None
    if state.stage is LearningStage.SHADOW:
        return None, state.candidate
    if state.stage is LearningStage.PROMOTED:
        return state.candidate, None
    if state.stage is LearningStage.ROLLED_BACK:
        return state.before, None
    return None, None
