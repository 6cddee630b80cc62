"""Continuous learning: when a training is asked for, and what becomes of what it made.

IDLE -> REQUESTED -> TRAINING -> SHADOW -> PROMOTED -> IDLE, or -> ROLLED_BACK -> IDLE; a training
that fails leads to IDLE with a pause, and after too many in a row to FAILED, from where only a
person's request leads on. One job at a time, since there is one state. Times are market time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from services.analytics.core.learning import promotion_watch
from services.analytics.core.learning.promotion_watch import BreakerRule, Promotion
from services.analytics.core.learning.states import (
    HOUR_MS,
    Change,
    Learning,
    LearningStage,
    Look,
    Rules,
    Step,
    Told,
    wanted,
)
from services.analytics.core.learning.tally import NOTHING, Tally
from services.trade.ids import digest

_ROUNDING = 1e-9


def look(state: Learning, seen: Look, rules: Rules) -> Change:
    """Decide what time and results call for."""
    if not state.began:
        state = replace(state, began=seen.now)
    before, state = state, _settle(state, seen)
    handler = _LOOKS.get(state.stage)
    change = handler(state, seen, rules) if handler else Change(state)
    if state.stage is LearningStage.PROMOTED and state.settled and not before.settled:
        # told when it answers, not when it was asked for: ai may refuse it
        return Change(change.state, (Told(Step.MODEL_UPDATED, state.reasons), *change.told))
    return change


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
    step = Step.MODEL_DROPPED if state.candidate else Step.RETRAINING_FAILED
    told = [Told(step, (reason,))]
    stage = LearningStage.IDLE
    if failures >= rules.failures:
        stage = LearningStage.FAILED
        told.append(Told(Step.GIVEN_UP, (f"{failures} trainings in a row failed",)))
    pause = rules.pause * 2 ** min(failures, 8)
    ended = _ended(state, stage, now, now + pause, (reason,))
    return Change(replace(ended, failures=failures), tuple(told))


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
        return Change(replace(promoted, standard=old, reasons=(_compared(new, old),)))
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
    bad = _compared(new, old) if new.samples >= rules.samples and worse(new, old, rules) else ""
    if bad := bad or _lost(state, seen, rules):
        back = _enter(state, LearningStage.ROLLED_BACK, seen.now)
        return Change(back, (Told(Step.MODEL_ROLLED_BACK, (bad,)),))
    if seen.now - state.since < rules.watch or new.samples < rules.samples:
        return Change(state)
    done = _ended(state, LearningStage.IDLE, seen.now, seen.now + rules.pause, ())
    return Change(done, (Told(Step.MODEL_CONFIRMED, (_compared(new, old),)),))


def _lost(state: Learning, seen: Look, rules: Rules) -> str:
    """Return what the new artifact's own trades say against it; empty when nothing."""
    if not state.settled:
        return ""
    promotion = Promotion(state.candidate, state.since)
    breaker = BreakerRule(window_ms=rules.watch)
    return promotion_watch.judge(promotion, seen.trades, seen.now, breaker).reason


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
