"""The loop of continuous learning: one job at a time, promoted by rule, taken back when worse."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.analytics.core.learning.lifecycle import better, completed, failed, look, started
from services.analytics.core.learning.promotion_watch import Outcome
from services.analytics.core.learning.states import (
    HOUR_MS,
    Change,
    Learning,
    LearningStage,
    Look,
    Rules,
    Step,
    ask,
    wanted,
)
from services.analytics.core.learning.tally import Tally

RULES = Rules()
T0 = 1_700_000_000_000


def tally(samples: float, hit_rate: float, log_loss: float = 1.0) -> Tally:
    return Tally(samples=samples, hits=samples * hit_rate, log_loss_sum=samples * log_loss)


OLD, GOOD, BAD = tally(500, 0.40), tally(500, 0.45, 0.98), tally(500, 0.30, 1.1)


def seen(hours: float, active: str = "old", **more: object) -> Look:
    look_ = Look(now=T0 + int(hours * HOUR_MS), enabled=True, active=active)
    return replace(look_, **more)  # type: ignore[arg-type]


def steps(change: Change) -> list[Step]:
    return [told.step for told in change.told]


def requested(hours: float = 0) -> Learning:
    state = look(Learning(), seen(hours - 1), RULES).state
    return look(state, seen(hours, drift=("the atr moved",)), RULES).state


def shadowed() -> Learning:
    state = requested()
    state = started(state, state.job_id, T0 + HOUR_MS, 0.0).state
    state = completed(state, state.job_id, "new", T0 + 2 * HOUR_MS, RULES).state
    return look(state, seen(3, shadow="new"), RULES).state


def test_from_drift_to_a_confirmed_model_without_a_person() -> None:
    state = look(Learning(), seen(0), RULES).state
    change = look(state, seen(1, drift=("the atr moved",)), RULES)
    assert steps(change) == [Step.DRIFT_DETECTED, Step.RETRAINING_REQUESTED]
    state = change.state
    change = started(state, state.job_id, T0 + HOUR_MS, 0.1)
    assert steps(change) == [Step.RETRAINING_STARTED]
    change = completed(change.state, state.job_id, "new", T0 + 2 * HOUR_MS, RULES)
    assert steps(change) == [Step.RETRAINING_COMPLETED, Step.MODEL_SHADOWED]
    assert wanted(change.state) == (None, "new")
    state = look(change.state, seen(3, shadow="new"), RULES).state
    assert (state.settled, state.since) == (True, T0 + 3 * HOUR_MS)
    early = look(state, seen(20, shadow="new", candidate=GOOD, active_tally=OLD), RULES)
    assert early.state.stage is LearningStage.SHADOW
    change = look(state, seen(27, shadow="new", candidate=GOOD, active_tally=OLD), RULES)
    assert steps(change) == [], "ai has not taken it yet"
    assert wanted(change.state) == ("new", None)
    change = look(change.state, seen(28, active="new"), RULES)
    assert steps(change) == [Step.MODEL_UPDATED]
    assert "45.0%" in change.told[0].reasons[0]
    state = change.state
    change = look(state, seen(53, active="new", candidate=GOOD), RULES)
    assert steps(change) == [Step.MODEL_CONFIRMED]
    assert change.state.stage is LearningStage.IDLE
    again = look(change.state, seen(54, active="new", drift=("again",)), RULES)
    assert again.state.stage is LearningStage.IDLE
    assert look(change.state, seen(60, active="new", drift=("again",)), RULES).state.busy


def test_a_worse_model_is_taken_back() -> None:
    state = shadowed()
    state = look(state, seen(30, shadow="new", candidate=GOOD, active_tally=OLD), RULES).state
    state = look(state, seen(31, active="new"), RULES).state
    few = look(state, seen(32, active="new", candidate=tally(50, 0.1)), RULES)
    assert few.told == ()
    change = look(state, seen(32, active="new", candidate=BAD), RULES)
    assert steps(change) == [Step.MODEL_ROLLED_BACK]
    assert wanted(change.state) == ("old", None)
    assert look(change.state, seen(33, active="new"), RULES).state.stage is change.state.stage
    done = look(change.state, seen(33), RULES).state
    assert done.stage is LearningStage.IDLE
    assert done.not_before == T0 + 33 * HOUR_MS + 2 * RULES.pause


def lost(count: int, hours: float, *, version: str = "new") -> tuple[Outcome, ...]:
    """Trades that each lost what they risked, one after the other."""
    at = T0 + int(hours * HOUR_MS)
    return tuple(
        Outcome(f"p{n}", version, at + n, at + n + 1, Decimal(-1), Decimal(-1))
        for n in range(count)
    )


def test_a_model_whose_trades_lose_is_taken_back_before_its_outcomes_say_so() -> None:
    """Incident 105: ten lost trades of the promoted version are enough; others' do not count."""
    state = look(shadowed(), seen(30, shadow="new", candidate=GOOD, active_tally=OLD), RULES).state
    early = look(state, seen(30.5, trades=lost(10, 29)), RULES)
    assert early.state.stage is LearningStage.PROMOTED, "it does not answer yet"
    state = look(state, seen(31, active="new"), RULES).state
    for trades in (lost(9, 32), lost(10, 32, version="old"), lost(10, 30)):
        kept = look(state, seen(33, active="new", candidate=GOOD, trades=trades), RULES)
        assert kept.told == ()
    change = look(state, seen(33, active="new", candidate=GOOD, trades=lost(10, 32)), RULES)
    assert steps(change) == [Step.MODEL_ROLLED_BACK]
    assert "-1.00 R" in change.told[0].reasons[0]
    assert wanted(change.state) == ("old", None)


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (tally(500, 0.408), True),
        (tally(500, 0.407), False),
        (tally(500, 0.5, 1.01), False),
        (tally(500, 0.408, 0.9), True),
    ],
)
def test_two_percent_more_hits_and_no_worse_probabilities(new: Tally, expected: bool) -> None:
    assert better(new, OLD, RULES) is expected


def test_a_shadow_that_is_no_better_is_dropped_in_the_end() -> None:
    state = shadowed()
    still = look(state, seen(60, shadow="new", candidate=OLD, active_tally=OLD), RULES)
    assert still.told == ()
    change = look(state, seen(76, shadow="new", candidate=OLD, active_tally=OLD), RULES)
    assert steps(change) == [Step.MODEL_DROPPED]
    few = look(state, seen(76, shadow="new", candidate=tally(3, 1.0), active_tally=OLD), RULES)
    assert "only 3 outcomes" in few.told[0].reasons[0]


def test_an_artifact_that_ai_refuses_is_dropped_and_never_told_as_updated() -> None:
    state = shadowed()
    change = look(state, seen(30, shadow="new", candidate=GOOD, active_tally=OLD), RULES)
    change = failed(change.state, change.state.job_id, "the gate", T0 + 30 * HOUR_MS, RULES)
    assert steps(change) == [Step.MODEL_DROPPED]
    assert change.told[0].reasons == ("the gate",)
    after = look(change.state, seen(31), RULES)
    assert after.state.stage is LearningStage.IDLE and after.told == ()


def test_what_a_person_changes_is_left_alone() -> None:
    state = shadowed()
    taken = look(state, seen(5, active="other", shadow="new"), RULES)
    assert steps(taken) == [Step.MODEL_DROPPED]
    assert steps(look(state, seen(5, shadow="other"), RULES)) == [Step.MODEL_DROPPED]
    state = look(state, seen(30, shadow="new", candidate=GOOD, active_tally=OLD), RULES).state
    state = look(state, seen(31, active="new"), RULES).state
    moved = look(state, seen(32, active="other"), RULES)
    assert steps(moved) == [Step.MODEL_DROPPED] and wanted(moved.state) == (None, None)


def test_it_gives_up_after_failures_until_a_person_asks() -> None:
    state, hours = Learning(began=T0), 0.0
    for number in range(1, 4):
        change = look(state, seen(hours, urgent=("lost",)), RULES)
        assert change.state.stage is LearningStage.REQUESTED
        job = change.state.job_id
        change = failed(change.state, job, "no rows", T0 + int(hours * HOUR_MS), RULES)
        state = change.state
        assert state.failures == number
        assert state.not_before - T0 - hours * HOUR_MS == RULES.pause * 2**number
        hours += 200
    assert steps(change) == [Step.RETRAINING_FAILED, Step.GIVEN_UP]
    assert state.stage is LearningStage.FAILED
    assert look(state, seen(9000, urgent=("lost",), drift=("d",)), RULES).told == ()
    state, accepted = ask(state, "the trainer is mended")
    assert accepted
    assert look(state, seen(9001), RULES).state.reasons == (
        "a person asked: the trainer is mended",
    )


def test_it_trains_on_schedule_and_only_when_enabled() -> None:
    state = look(Learning(), seen(0), RULES).state
    assert look(state, seen(167), RULES).told == ()
    assert look(state, seen(168, enabled=False), RULES).told == ()
    assert look(state, seen(168, active=""), RULES).told == ()
    change = look(state, seen(168), RULES)
    assert change.state.reasons == ("the last training was 7.0 days ago",)
    assert look(state, seen(1, enabled=False, urgent=("lost",)), RULES).told == ()


def test_the_same_artifact_again_is_a_failure() -> None:
    state = requested()
    change = completed(state, state.job_id, "old", T0, RULES)
    assert steps(change) == [Step.RETRAINING_FAILED]


def test_a_request_is_taken_once() -> None:
    state, first = ask(Learning(), "")
    assert first and not ask(state, "")[1]
    assert not ask(requested(), "")[1]


@given(st.sampled_from(["other", ""]), st.floats(0, 1))
def test_words_about_another_job_change_nothing(job: str, progress: float) -> None:
    state = requested()
    assert started(state, job, T0, progress) == Change(state)
    assert completed(state, job, "new", T0, RULES) == Change(state)
    assert failed(state, job, "why", T0, RULES) == Change(state)


class AnyOrder(RuleBasedStateMachine):
    """Whatever comes, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Learning()
        self.now = T0
        self.active, self.shadow = "m0", ""
        self.made = 0
        self.jobs: list[str] = []

    def take(self, change: Change) -> None:
        for told in change.told:
            if told.step is Step.RETRAINING_REQUESTED:
                assert not self.state.busy, "a second job beside the first"
                self.jobs.append(change.state.job_id)
            if told.step is Step.MODEL_UPDATED:
                assert self.active == self.state.candidate, "told before it answers"
        promoted = LearningStage.PROMOTED
        if change.state.stage is promoted and self.state.stage is not promoted:
            assert better(self.new, change.state.standard, RULES)
        self.state = change.state

    @rule(
        hours=st.integers(0, 100),
        urgent=st.booleans(),
        drift=st.booleans(),
        enabled=st.booleans(),
        new=st.sampled_from([GOOD, BAD, OLD, Tally()]),
    )
    def look(self, hours: int, urgent: bool, drift: bool, enabled: bool, new: Tally) -> None:
        self.now += hours * HOUR_MS
        self.new = new
        found = Look(
            now=self.now,
            enabled=enabled,
            active=self.active,
            shadow=self.shadow,
            urgent=("u",) if urgent else (),
            drift=("d",) if drift else (),
            candidate=new,
            active_tally=OLD,
        )
        self.take(look(self.state, found, RULES))

    @rule(again=st.booleans())
    def deploy(self, again: bool) -> None:
        active, shadow = wanted(self.state)
        self.active, self.shadow = active or self.active, shadow or self.shadow
        if again:
            self.look(0, False, False, True, Tally())

    @rule(progress=st.floats(0, 1))
    def start(self, progress: float) -> None:
        self.take(started(self.state, self.jobs[-1] if self.jobs else "", self.now, progress))

    @precondition(lambda self: self.jobs)
    @rule(old=st.booleans())
    def complete(self, old: bool) -> None:
        self.made += 1
        job = self.jobs[0 if old else -1]
        self.take(completed(self.state, job, f"m{self.made}", self.now, RULES))

    @precondition(lambda self: self.jobs)
    @rule()
    def fail(self) -> None:
        self.take(failed(self.state, self.jobs[-1], "why", self.now, RULES))

    @rule()
    def person(self) -> None:
        self.state, _ = ask(self.state, "person")

    @invariant()
    def the_state_makes_sense(self) -> None:
        state = self.state
        assert bool(state.job_id) == state.busy
        assert not state.candidate or state.busy
        assert state.stage is not LearningStage.PROMOTED or state.candidate
        assert state.triggered == len(self.jobs) == len(set(self.jobs))
        assert state.failures <= RULES.failures + len(self.jobs)


TestAnyOrder = AnyOrder.TestCase
