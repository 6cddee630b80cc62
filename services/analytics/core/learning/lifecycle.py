"""Continuous learning: when a training is asked for, and what becomes of what it made.

IDLE -> REQUESTED -> TRAINING -> SHADOW -> PROMOTED -> IDLE, or -> ROLLED_BACK -> IDLE; a training
that fails leads to IDLE with a pause, and after too many in a row to FAILED, from where only a
person's request leads on. One job at a time, since there is one state. Times are market time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from services.analytics.core.learning.tally import NOTHING, Tally
from services.trade.ids import digest

HOUR_MS = 3_600_000
_ROUNDING = 1e-9


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
    active_tally: Tally = NOTHING
    """What came of the active artifact's predictions on the same span."""


def ask(state: Learning, reason: str) -> tuple[Learning, bool]:
    """Take a person's request; False when a job is under way or one waits already."""
    if state.busy or state.asked:
        return state, False
    return replace(state, asked=reason or "asked for"), True


def look(state: Learning, seen: Look, rules: Rules) -> Change:
    """Decide what time and results call for."""
    if not state.began:
        state = replace(state, began=seen.now)
    state = _settle(state, seen)
    handler = _LOOKS.get(state.stage)
    return handler(state, seen, rules) if handler else Change(state)


def started(state: Learning, job_id: str, now: int, progress: float) -> Change:
    """The trainer works on the job."""
    if state.job_id != job_id or state.stage not in _WAITING:
        return Change(state)
    if state.stage is LearningStage.TRAINING:
        return Change(replace(state, progress=max(state.progress, progress)))
    begun = replace(state, stage=LearningStage.TRAINING, since=now, progress=progress)
    return Change(begun, (Told(Step.RETRAINING_STARTED, state.reasons),))


def completed(state: Learning, job_id: str, version: str, now: int, rules: Rules) -> Change:
    """The trainer stored an artifact: it goes into the shadow."""
    if state.job_id != job_id or state.stage not in _WAITING:
        return Change(state)
    if version == state.before:
        reason = f"{version} is what answers already: the same candles make the same artifact"
        return failed(state, job_id, reason, now, rules)
    shadowed = replace(
        state,
        stage=LearningStage.SHADOW,
        since=now,
        candidate=version,
        progress=1.0,
        failures=0,
        last_retrain=now,
        settled=False,
    )
    made = (f"{version} was made",)
    return Change(shadowed, (Told(Step.RETRAINING_COMPLETED, made), Told(Step.MODEL_SHADOWED)))


def failed(state: Learning, job_id: str, reason: str, now: int, rules: Rules) -> Change:
    """The job came to nothing: it could not be trained, or what it made is refused."""
    if state.job_id != job_id or not state.busy:
        return Change(state)
    failures = state.failures + 1
    told = [Told(Step.RETRAINING_FAILED, (reason,))]
    stage = LearningStage.IDLE
    if failures >= rules.failures:
        stage = LearningStage.FAILED
        told.append(Told(Step.GIVEN_UP, (f"{failures} trainings in a row failed",)))
    pause = rules.pause * 2 ** min(failures, 8)
    ended = _ended(state, stage, now, now + pause, (reason,))
    return Change(replace(ended, failures=failures), tuple(told))


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


def _settle(state: Learning, seen: Look) -> Learning:
    active, shadow = wanted(state)
    if (active, shadow) == (None, None):
        return state
    if active not in (None, seen.active) or shadow not in (None, seen.shadow):
        return state
    # Only from here on does the new artifact answer.
    return replace(state, settled=True, since=seen.now)


def _idle(state: Learning, seen: Look, rules: Rules) -> Change:
    told: tuple[Told, ...] = ()
    reasons = _reasons(state, seen, rules)
    if not reasons or not seen.active:
        return Change(state)
    if seen.drift and not state.asked:
        told = (Told(Step.DRIFT_DETECTED, seen.drift),)
    requested = replace(
        state,
        stage=LearningStage.REQUESTED,
        since=seen.now,
        job_id="train-" + digest("train", seen.active, seen.now, state.triggered, length=16),
        before=seen.active,
        candidate="",
        reasons=reasons,
        progress=0.0,
        triggered=state.triggered + 1,
        asked="",
        standard=NOTHING,
        settled=False,
    )
    return Change(requested, (*told, Told(Step.RETRAINING_REQUESTED, reasons)))


def _reasons(state: Learning, seen: Look, rules: Rules) -> tuple[str, ...]:
    if state.asked:
        return (f"a person asked: {state.asked}",)
    given_up = state.stage is LearningStage.FAILED
    if given_up or not seen.enabled or seen.now < state.not_before:
        return ()
    if seen.urgent:
        return (*(f"urgent: {reason}" for reason in seen.urgent), *seen.drift)
    if seen.drift:
        return seen.drift
    last = state.last_retrain or state.began
    if seen.now - last >= rules.retrain_every:
        days = (seen.now - last) / (24 * HOUR_MS)
        return (f"the last training was {days:.1f} days ago",)
    return ()


def _shadow(state: Learning, seen: Look, rules: Rules) -> Change:
    age = seen.now - state.since
    if seen.active and seen.active != state.before:
        return _drop(state, seen, rules, f"{seen.active} was put in place of {state.before}")
    if state.settled and seen.shadow != state.candidate:
        return _drop(state, seen, rules, f"{state.candidate} was taken out of the shadow")
    new, old = seen.candidate, seen.active_tally
    enough = age >= rules.shadow_least and min(new.samples, old.samples) >= rules.samples
    if enough and seen.enabled and better(new, old, rules):
        promoted = _enter(state, LearningStage.PROMOTED, seen.now)
        told = Told(Step.MODEL_UPDATED, (_compared(new, old),))
        return Change(replace(promoted, standard=old), (told,))
    if age < rules.shadow_most:
        return Change(state)
    if min(new.samples, old.samples) < rules.samples:
        few = f"only {new.samples:.0f} outcomes in {age / HOUR_MS:.0f} h of shadow"
        return _drop(state, seen, rules, few)
    return _drop(state, seen, rules, _compared(new, old))


def _watch(state: Learning, seen: Look, rules: Rules) -> Change:
    if state.settled and seen.active != state.candidate:
        reason = f"{seen.active} was put in place of {state.candidate}"
        return _drop(state, seen, rules, reason)
    new, old = seen.candidate, state.standard
    if new.samples >= rules.samples and worse(new, old, rules):
        back = _enter(state, LearningStage.ROLLED_BACK, seen.now)
        return Change(back, (Told(Step.MODEL_ROLLED_BACK, (_compared(new, old),)),))
    if seen.now - state.since < rules.watch or new.samples < rules.samples:
        return Change(state)
    done = _ended(state, LearningStage.IDLE, seen.now, seen.now + rules.pause, ())
    return Change(done, (Told(Step.MODEL_CONFIRMED, (_compared(new, old),)),))


def _rolled_back(state: Learning, seen: Look, rules: Rules) -> Change:
    if not state.settled:
        return Change(state)
    reasons = (f"{state.candidate} was worse than {state.before}",)
    return Change(_ended(state, LearningStage.IDLE, seen.now, seen.now + 2 * rules.pause, reasons))


def better(new: Tally, old: Tally, rules: Rules) -> bool:
    """Tell whether a shadow has earned its place: more hits, and no worse probabilities."""
    more = new.hit_rate >= old.hit_rate * (1.0 + rules.gain) - _ROUNDING
    return more and new.log_loss <= old.log_loss + _ROUNDING


def worse(new: Tally, old: Tally, rules: Rules) -> bool:
    """Tell whether a promoted artifact must go: fewer hits than the one before it had."""
    return new.hit_rate < old.hit_rate - rules.drop


def _compared(new: Tally, old: Tally) -> str:
    return (
        f"hit rate {new.hit_rate:.1%} of {new.samples:.0f} against {old.hit_rate:.1%},"
        f" log-loss {new.log_loss:.4f} against {old.log_loss:.4f}"
    )


def _drop(state: Learning, seen: Look, rules: Rules, reason: str) -> Change:
    ended = _ended(state, LearningStage.IDLE, seen.now, seen.now + rules.pause, (reason,))
    return Change(ended, (Told(Step.MODEL_DROPPED, (reason,)),))


def _enter(state: Learning, stage: LearningStage, now: int) -> Learning:
    return replace(state, stage=stage, since=now, settled=False)


def _ended(
    state: Learning, stage: LearningStage, now: int, not_before: int, reasons: tuple[str, ...]
) -> Learning:
    return replace(
        state,
        stage=stage,
        since=now,
        job_id="",
        candidate="",
        progress=0.0,
        reasons=reasons,
        not_before=not_before,
        standard=NOTHING,
        settled=False,
    )


_WAITING = (LearningStage.REQUESTED, LearningStage.TRAINING)
_LOOKS: dict[LearningStage, Callable[[Learning, Look, Rules], Change]] = {
    LearningStage.IDLE: _idle,
    LearningStage.FAILED: _idle,
    LearningStage.SHADOW: _shadow,
    LearningStage.PROMOTED: _watch,
    LearningStage.ROLLED_BACK: _rolled_back,
}
