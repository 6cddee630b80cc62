"""Pointers: which artifact answers which candle, through deployments and rollbacks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.core.pointers import (
    SHIPPED,
    NotActive,
    NothingBefore,
    Pointer,
    Stage,
    Wanted,
    deployed,
    effective_after,
    lineup,
    rollback_target,
    rolled_back,
    stage_of,
)
from services.ai.pace import MarketPace
from services.ai.pointer_codec import pointer_from_pb, pointer_to_pb, stage_from_pb

MINUTE = 60_000
FIRST = "shipped"


def deploy(history: list[Pointer], version: str, at: int) -> list[Pointer]:
    made = deployed(
        history[-1] if history else None,
        version=version,
        sha256=f"sha-{version}",
        running=FIRST,
        effective_from=at,
        changed_by="test",
        reason="why",
    )
    return history if made is None else [*history, made]


def roll_back(history: list[Pointer], at: int) -> list[Pointer]:
    made = rolled_back(history, sha256="sha", effective_from=at, changed_by="test", reason="worse")
    return [*history, made]


def test_without_a_pointer_the_shipped_artifact_answers() -> None:
    assert lineup([]) == (SHIPPED,)


def test_a_deployment_leaves_the_old_one_before_its_time() -> None:
    history = deploy([], "b", 5 * MINUTE)
    assert lineup(history) == (Wanted(0, FIRST), Wanted(5 * MINUTE, "b", "sha-b"))


def test_the_same_version_again_changes_nothing() -> None:
    history = deploy([], "b", 1)
    assert deploy(history, "b", 2) is history
    assert deploy([], FIRST, 1) == []


def test_a_rollback_goes_back_once_and_then_further_back_never_to_what_was_taken_away() -> None:
    history = deploy(deploy([], "b", 1), "c", 2)
    once = roll_back(history, 3)
    assert (once[-1].version, once[-1].rolled_back_version) == ("b", "c")
    twice = roll_back(once, 4)
    assert (twice[-1].version, twice[-1].rolled_back_version) == (FIRST, "b")
    with pytest.raises(NothingBefore):
        roll_back(twice, 5)


def test_a_rollback_names_what_it_takes_away() -> None:
    history = deploy([], "b", 1)
    with pytest.raises(NotActive, match="b is"):
        rollback_target(history, "c")
    with pytest.raises(NotActive, match="none is"):
        rollback_target([], "c")


def test_a_change_under_way_is_overtaken_and_the_first_still_answers() -> None:
    history = deploy(deploy([], "b", 5 * MINUTE), "c", 5 * MINUTE)
    assert [(w.effective_from, w.version) for w in lineup(history)] == [
        (0, FIRST),
        (5 * MINUTE, "b"),
        (5 * MINUTE, "c"),
    ]


steps = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", "roll back"]), st.integers(0, 50)), max_size=30
)


def walked(found: list[tuple[str, int]]) -> list[Pointer]:
    history: list[Pointer] = []
    for what, at in found:
        try:
            history = roll_back(history, at) if what == "roll back" else deploy(history, what, at)
        except (IndexError, NothingBefore):
            continue
    return history


@given(steps)
def test_pointers_never_hold_earlier_than_those_before(found: list[tuple[str, int]]) -> None:
    times = [p.effective_from for p in walked(found)]
    assert times == sorted(times)


@given(steps)
def test_each_pointer_changes_the_version_and_knows_the_one_before(
    found: list[tuple[str, int]],
) -> None:
    history = walked(found)
    for before, after in pairwise(history):
        assert after.version != before.version
        if after.rolled_back_version:
            assert after.rolled_back_version == before.version
        else:
            assert after.previous_version == before.version


@given(steps)
def test_rolling_back_for_ever_ends_at_what_was_first(found: list[tuple[str, int]]) -> None:
    history = walked(found)
    taken = []
    for _ in range(len(history) + 1):
        try:
            history = roll_back(history, 99)
        except (IndexError, NothingBefore):
            break
        taken.append(history[-1].rolled_back_version)
    else:
        pytest.fail("rollbacks go round in a circle")
    if history:
        assert history[-1].version == FIRST
    assert len(taken) <= sum(not p.rolled_back_version for p in history)


def test_what_the_bus_has_forgotten_is_not_gone_back_to() -> None:
    """The bus keeps the last pointers alone; the first that is left may be a rollback."""
    history = roll_back(deploy(deploy(deploy([], "b", 1), "c", 2), "d", 3), 4)[-1:]
    assert (history[0].version, history[0].previous_version) == ("c", "b")
    assert rollback_target(history, "c") == "b"


@given(steps)
def test_one_artifact_is_active_and_what_was_is_retired(found: list[tuple[str, int]]) -> None:
    history = walked(found)
    stages = {v: stage_of(v, history, None, FIRST) for v in ("a", "b", "c", FIRST)}
    assert [s for s in stages.values() if s is Stage.ACTIVE] == [Stage.ACTIVE]
    told = {p.version for p in history} | {p.previous_version for p in history if history}
    for version, stage in stages.items():
        if stage is Stage.CANDIDATE:
            assert version not in told


def test_the_shadow_is_told_and_the_active_one_is_no_shadow() -> None:
    shadow = Pointer("b", "", "", 0, "t", "r")
    assert stage_of("b", [], shadow, FIRST) is Stage.SHADOW
    assert stage_of("b", deploy([], "b", 1), shadow, FIRST) is Stage.ACTIVE


@given(st.integers(1, 10**12), st.floats(0, 1e7, allow_nan=False))
def test_a_change_holds_after_the_round_in_which_it_was_decided(close: int, pace: float) -> None:
    found = effective_after(close * MINUTE, MINUTE, pace, 3.0)
    assert found >= (close + 2) * MINUTE
    assert found % MINUTE == 0
    assert found - close * MINUTE >= pace * 3.0 - 1e-6 * pace


def test_pace_is_not_moved_by_one_gap_in_the_market() -> None:
    pace = MarketPace()
    assert pace.rate == 0
    for second in range(10):
        close = second * MINUTE + (7 * 86_400_000 if second >= 5 else 0)
        pace.sample(float(second), close)
    assert pace.rate == MINUTE


@given(
    st.builds(
        Pointer,
        version=st.text("abc", max_size=5),
        sha256=st.text("0f", max_size=4),
        previous_version=st.text("abc", max_size=5),
        effective_from=st.integers(1_000, 10**13),
        changed_by=st.text("xy", min_size=1, max_size=3),
        reason=st.text(max_size=10),
        rolled_back_version=st.text("abc", max_size=5),
    )
)
def test_a_pointer_is_read_as_it_was_written(pointer: Pointer) -> None:
    assert pointer_from_pb(pointer_to_pb(pointer)) == pointer


def test_every_stage_of_the_contract_is_known() -> None:
    assert {stage_from_pb(number) for number in (1, 2, 3, 4)} == set(Stage)
