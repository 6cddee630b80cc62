"""A model that says the same whatever it sees loses its vote, and gets it back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.core.manifest import Manifest
from services.ai.core.watch import ModelWatch
from tests.unit.ai.candle_samples import MINUTE, manifest

BLOCK = 20
NAMES = ("a", "b", "c", "d")
WEIGHTS = (0.25, 0.25, 0.3, 0.2)
Model = Callable[[int], tuple[float, float]]
ORIGIN = 1_900_000_000_000 // (BLOCK * MINUTE) * (BLOCK * MINUTE)


def four(version: str = "v1") -> Manifest:
    return manifest(models=NAMES, weights=WEIGHTS, version=version)


def lively(number: int) -> tuple[float, float]:
    """Both sides, and never twice the same."""
    wave = (number * 7 % 13 - 6) / 40
    return 0.3 - wave, 0.3 + wave


def always_up(number: int) -> tuple[float, float]:
    return 0.2 + number % 5 / 100, 0.5


def still(number: int) -> tuple[float, float]:
    return 0.3, 0.3 + (1e-6 if number % 2 else -1e-6)


def feed(watch: ModelWatch, start: int, end: int, *, version: str = "v1", **models: Model) -> None:
    """Candles that close `start` to `end` bars after the origin."""
    for number in range(start, end):
        said = [
            (*models.get(name, lively)(number), weight)
            for name, weight in zip(NAMES, WEIGHTS, strict=True)
        ]
        watch.observe(version, "1m", ORIGIN + number * MINUTE, NAMES, np.array([said]))


def at(watch: ModelWatch, bar: int, version: str = "v1") -> tuple[float, ...]:
    return watch.weights(four(version), ORIGIN + bar * MINUTE)


def new() -> ModelWatch:
    return ModelWatch(block_bars=BLOCK, least_rows=15)


def test_healthy_models_keep_their_shares() -> None:
    watch = new()
    feed(watch, 1, 100)
    assert at(watch, 100) == WEIGHTS
    assert not watch.take_changes()


@pytest.mark.parametrize(("model", "reason"), [(still, "near_constant"), (always_up, "one_sided")])
def test_a_degenerate_model_is_excluded_after_its_block_and_told(model: Model, reason: str) -> None:
    """Incident 96: what does not judge does not vote, and the weights say so."""
    watch = new()
    feed(watch, 1, BLOCK + 3, b=model)
    assert at(watch, BLOCK + 2) == WEIGHTS
    feed(watch, BLOCK + 3, BLOCK + 4, b=model)
    found = at(watch, BLOCK + 3)
    assert found[1] == 0.0
    assert sum(found) == pytest.approx(1.0)
    assert found[2] / found[0] == pytest.approx(0.3 / 0.25)
    (change,) = watch.take_changes()
    assert (change.model, change.weight, change.reason) == ("b", 0.0, reason)
    assert change.effective_from == ORIGIN + (BLOCK + 2) * MINUTE
    assert not watch.take_changes()


def test_a_model_that_speaks_again_is_taken_back() -> None:
    watch = new()
    feed(watch, 1, BLOCK + 1, b=always_up)
    feed(watch, BLOCK + 1, 2 * BLOCK + 4)
    assert at(watch, BLOCK + 4)[1] == 0.0
    assert at(watch, 2 * BLOCK + 3) == WEIGHTS
    assert [c.reason for c in watch.take_changes()] == ["one_sided", "recovered"]


def test_when_all_are_degenerate_none_is_left() -> None:
    watch = new()
    feed(watch, 1, BLOCK + 4, a=still, b=still, c=still, d=still)
    assert at(watch, BLOCK + 4) == (0.0,) * 4


def test_few_answers_or_half_a_block_prove_nothing() -> None:
    few = new()
    feed(few, 1, 12, b=still)
    feed(few, BLOCK + 1, BLOCK + 4, b=still)
    assert at(few, BLOCK + 4) == WEIGHTS
    late = new()
    feed(late, 3, BLOCK + 4, b=still)
    assert at(late, BLOCK + 4) == WEIGHTS


def test_a_replica_that_begins_late_takes_over_what_the_others_know() -> None:
    watch = new()
    for number in range(5, 10):
        said = [(*lively(number), 0.0 if n == "c" else 0.33) for n in NAMES]
        watch.observe("v1", "1m", ORIGIN + number * MINUTE, NAMES, np.array([said]))
    assert at(watch, 10)[2] == 0.0


def test_another_artifact_begins_anew() -> None:
    watch = new()
    feed(watch, 1, BLOCK + 4, b=still)
    assert at(watch, BLOCK + 4)[1] == 0.0
    assert at(watch, BLOCK + 4, "v2") == WEIGHTS
    feed(watch, BLOCK + 4, BLOCK + 5, version="v2")
    assert at(watch, BLOCK + 5, "v2") == WEIGHTS


@given(st.randoms(use_true_random=False), st.sampled_from([lively, still, always_up]))
def test_the_order_of_arrival_within_a_block_decides_nothing(random: object, model: Model) -> None:
    numbers = list(range(1, BLOCK + 1))
    random.shuffle(numbers)  # type: ignore[attr-defined]
    watch, ordered = new(), new()
    for number in numbers:
        feed(watch, number, number + 1, d=model)
    feed(ordered, 1, BLOCK + 1, d=model)
    for one in (watch, ordered):
        feed(one, BLOCK + 1, BLOCK + 4)
    assert at(watch, BLOCK + 3) == at(ordered, BLOCK + 3)


@pytest.mark.parametrize("lively_rows", [0, 3, 20, 40])
def test_how_answers_are_gathered_into_batches_decides_nothing(lively_rows: int) -> None:
    """Sums are of whole numbers: no rounding depends on what came together."""
    rows = [(*lively(number), 0.25) for number in range(40)]
    rows[lively_rows:] = [(*still(number), 0.25) for number in range(lively_rows, 40)]
    together, apart = new(), new()
    together.observe("v1", "1m", ORIGIN + MINUTE, NAMES, np.array([[row] * 4 for row in rows]))
    for row in rows:
        apart.observe("v1", "1m", ORIGIN + MINUTE, NAMES, np.array([[row] * 4]))
    assert at(together, BLOCK + 4) == at(apart, BLOCK + 4)
    assert together.excluded == apart.excluded
