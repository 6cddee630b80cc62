"""What an artifact must have shown before it may make signals."""

from __future__ import annotations

from math import nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.artifact import active_folder
from services.ai.core.artifact_summary import Summary, read_summary, summary_of, write_summary
from services.ai.core.manifest import parse_manifest
from services.ai.core.promotion_gate import BASELINES, gain_of, refusals
from services.ai.settings import SHIPPED_MODELS

GOOD = {
    "always_hold": {"log_loss": 1.09},
    "volatility_bins": {"log_loss": 1.03},
    "logistic_regression": {"log_loss": 1.07},
    "ensemble": {"log_loss": 1.01},
}


@pytest.mark.parametrize("version", ["four-1m-h15-220544da", "trees-1m-h15-4c0172fa"])
def test_the_shipped_artifacts_may_be_promoted(version: str) -> None:
    manifest = parse_manifest((SHIPPED_MODELS / version / "manifest.json").read_bytes())
    assert refusals(manifest.metrics) == []


def test_what_beats_all_baselines_may_be_promoted() -> None:
    assert refusals(GOOD) == []


def test_one_lucky_fold_is_no_sure_gain() -> None:
    """One fold that gains much and two that gain nothing: the mean is above zero, not surely."""
    gain = gain_of([0.189, 0.0, 0.001])
    assert gain.mean > 0.06 and gain.low < 0 and not gain.sure
    assert not gain_of([0.5]).sure, "a single fold proves nothing"


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30))
def test_the_interval_lies_around_the_mean(differences: list[float]) -> None:
    gain = gain_of(differences)
    assert gain.low <= gain.mean <= gain.high
    assert gain.high - gain.mean == pytest.approx(gain.mean - gain.low, abs=1e-9)
    assert gain.sure == (gain.low > 0)


def test_the_interval_is_that_of_the_books() -> None:
    gain = gain_of([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (gain.low, gain.high) == pytest.approx((1.0368, 4.9632), abs=1e-3)


def test_the_interval_holds_what_it_says() -> None:
    """Of 4,000 measurements of nothing over three folds one in forty is sure of a gain."""
    noise = np.random.default_rng(3).normal(size=(4_000, 3))
    assert np.mean([gain_of(list(row)).sure for row in noise]) == pytest.approx(0.025, abs=0.008)


@pytest.mark.parametrize("name", ["always_hold", "volatility_bins", "logistic_regression"])
@pytest.mark.parametrize("loss", [1.01, 1.0, 0.5, nan])
def test_what_a_baseline_beats_may_not(name: str, loss: float) -> None:
    (reason,) = refusals(GOOD | {name: {"log_loss": loss}})
    assert BASELINES[name] in reason


@pytest.mark.parametrize("name", ["always_hold", "volatility_bins", "logistic_regression"])
def test_not_to_have_been_compared_is_a_reason(name: str) -> None:
    assert "not compared" in refusals({k: v for k, v in GOOD.items() if k != name})[0]


def test_no_measurement_at_all_is_a_reason() -> None:
    assert refusals({}) == ["its manifest has no walk-forward log-loss of the ensemble"]
    assert len(refusals(GOOD | {"ensemble": {"log_loss": nan}})) == 3


def test_a_summary_is_read_as_it_was_written() -> None:
    manifest = parse_manifest((active_folder(SHIPPED_MODELS) / "manifest.json").read_bytes())
    summary = summary_of(manifest)
    assert summary.metrics["log_loss"] < 1.1
    assert read_summary(write_summary(summary)) == summary


@given(st.dictionaries(st.sampled_from(sorted(write_summary(Summary()))), st.text(max_size=8)))
def test_a_foreign_summary_is_read_as_far_as_it_goes(texts: dict[str, str]) -> None:
    assert isinstance(read_summary(texts), Summary)
