"""Drift is told, excludes one model, and can never silence all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.artifact import active_folder, load
from services.ai.core.drift import BINS, DRIFT, bins_of, drifting, edges_of, stability_index
from services.ai.core.manifest import Manifest
from services.ai.core.watch import ModelWatch
from services.ai.settings import SHIPPED_MODELS
from tests.unit.ai.candle_samples import MINUTE, manifest
from tests.unit.ai.test_watch import BLOCK, NAMES, ORIGIN, WEIGHTS

MEANS = tuple(0.05 + 0.1 * n for n in range(10))
EDGES = edges_of(MEANS)
USUAL = dict.fromkeys(NAMES, EDGES)


def four(usual_drift: dict[str, float] | None = None) -> Manifest:
    return manifest(
        models=NAMES,
        weights=WEIGHTS,
        version="v1",
        usual_confidence=USUAL,
        usual_drift=usual_drift or {},
    )


def judged(shift: dict[str, float], usual_drift: dict[str, float] | None = None) -> ModelWatch:
    """A block in which each model's confidence lay this much below what it was."""
    watch = ModelWatch(block_bars=BLOCK, least_rows=15)
    random = np.random.default_rng(5)
    for number in range(1, BLOCK + 4):
        said = np.zeros((60, 4, 3))
        for place, name in enumerate(NAMES):
            confidence = np.clip(random.uniform(0, 1, 60) - shift.get(name, 0.0), 0.01, 1.0)
            side = random.integers(0, 2, 60)
            said[np.arange(60), place, side] = confidence
            said[:, place, 2] = WEIGHTS[place]
        watch.observe("v1", "1m", ORIGIN + number * MINUTE, NAMES, said)
    watch.weights(four(usual_drift), ORIGIN + (BLOCK + 3) * MINUTE)
    return watch


def test_models_that_say_what_they_said_stay() -> None:
    watch = judged({})
    assert not watch.excluded
    assert max(map(abs, watch.drift.values())) < 0.05


def test_one_that_moved_away_from_the_others_is_excluded_and_told() -> None:
    """Incident 101: a drift is an event with a reason, by one threshold."""
    watch = judged({"d": 0.4})
    assert watch.excluded == {"d": "drifting"}
    assert watch.drift["d"] > DRIFT
    (change,) = watch.take_changes()
    assert (change.model, change.weight, change.reason) == ("d", 0.0, "drifting")


def test_what_is_usual_of_a_model_is_no_drift_and_more_than_that_is_one() -> None:
    """Incident 101: a limit that a quiet market exceeds every day says nothing."""
    much = judged({"d": 0.4}).drift["d"]
    assert not judged({"d": 0.4}, {"d": much - DRIFT * 0.9}).excluded
    usual = {"d": much - DRIFT * 1.1}
    assert judged({"d": 0.4}, usual).excluded == {"d": "drifting"}
    assert judged({"d": 0.4}, usual).drift["d"] == pytest.approx(DRIFT * 1.1)


@pytest.mark.parametrize("shift", [0.2, 0.4, 0.8])
def test_a_market_that_moves_all_of_them_silences_none(shift: float) -> None:
    """Incident 101: an index of 0.95 blocked every signal without a word."""
    assert not judged(dict.fromkeys(NAMES, shift)).excluded


@given(st.lists(st.lists(st.integers(0, 500), min_size=10, max_size=10), min_size=1, max_size=6))
def test_never_more_than_half_of_the_models_drift(groups: list[list[int]]) -> None:
    counts = {}
    for number, sizes in enumerate(groups):
        values = np.repeat(np.array(MEANS), sizes)
        counts[str(number)] = bins_of(values[:, None])[0]
    found = drifting(counts, dict.fromkeys(counts, EDGES), {})
    assert sum(excess > DRIFT for excess in found.values()) <= len(groups) // 2


def test_the_index_is_that_of_the_books() -> None:
    sizes = np.array([5, 15, 10, 10, 10, 10, 10, 10, 12, 8]) * 1000
    counts = bins_of(np.repeat(np.array(MEANS), sizes)[:, None])[0]
    shares = sizes / sizes.sum()
    plain = float(((shares - 0.1) * np.log(shares / 0.1)).sum())
    assert stability_index(counts, EDGES) == pytest.approx(plain, abs=1e-3)
    assert counts.sum() == sizes.sum()
    assert len(counts) == BINS


def test_a_model_whose_usual_confidence_is_not_known_is_not_judged() -> None:
    assert drifting({"a": bins_of(np.array([[0.5]]))[0]}, {}, {}) == {}


def test_the_shipped_artifact_tells_the_usual_confidence_of_its_models() -> None:
    found = load(active_folder(SHIPPED_MODELS)).manifest
    assert all(len(found.usual_confidence[name]) == 9 for name in found.models)
