"""Drift is what exceeds the days before: a market that is calm and wild in turns has none."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.analytics.core.learning.drift import detected, in_a_row, key_of, of_spread, psi_of
from services.analytics.core.learning.spread import Quantity, Spread, spread
from services.analytics.core.learning.usual import REMEMBERED, remembered, usual_of

LEAST = 7
indexes = st.lists(st.floats(0, 10), max_size=40)


def drift_of_days(days: list[Spread]) -> list[int]:
    """Days of drift against the first, as windows are looked at one after the other."""
    known: dict[str, list[float]] = {}
    runs: dict[str, int] = {}
    found_on = []
    for number, day in enumerate(days[1:], 1):
        run = runs.get(key_of("ensemble", "atr"), 0)
        usual = usual_of(known.get("atr", ()), run, LEAST)
        finding = (
            of_spread("ensemble", Quantity.ATR, days[0], day, usual=usual)
            if usual is not None
            else None
        )
        findings = [] if finding is None else [finding]
        runs = in_a_row(runs, findings)
        drifting = {f.quantity for f in detected(findings, runs)}
        known = remembered(known, {"atr": psi_of(days[0], day)}, drifting)
        if drifting:
            found_on.append(number)
    return found_on


def day(random: np.random.Generator, level: float) -> Spread:
    return spread(Quantity.ATR, random.lognormal(-7 + level, 0.3, 2000))


def test_calm_and_wild_days_in_turns_are_no_drift_and_days_that_stay_wild_are() -> None:
    random = np.random.default_rng(3)
    days = [day(random, level) for level in random.normal(0, 0.2, 120)]
    by_fixed_limit = [psi_of(days[0], d) >= 0.15 for d in days[1:]]
    assert np.mean(by_fixed_limit) > 0.5
    assert len(drift_of_days(days)) <= 2
    wild = [day(random, 2.5 + level) for level in random.normal(0, 0.2, 5)]
    assert drift_of_days(days + wild)[-4:] == [121, 122, 123, 124]


@given(indexes, st.integers(1, 10), st.integers(0, 3))
def test_what_is_usual_was_seen_before_the_run_began(
    known: list[float], least: int, run: int
) -> None:
    usual = usual_of(known, run, least)
    before = known[:-1] if run else known
    assert (usual is None) == (len(before) < least)
    assert usual is None or (usual in before and all(index <= usual for index in before))


@given(indexes, st.floats(0, 10))
def test_drift_never_becomes_usual(known: list[float], index: float) -> None:
    before = {"atr": known[-REMEMBERED:]}
    assert remembered(before, {"atr": index}, {"atr"}) == before
    kept = remembered(before, {"atr": index}, ())["atr"]
    assert kept[-1] == index and len(kept) <= REMEMBERED
    assert kept[:-1] == before["atr"][-(len(kept) - 1) :] if len(kept) > 1 else True
