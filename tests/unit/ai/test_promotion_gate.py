"""What an artifact must have shown before it may make signals."""

from __future__ import annotations

from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ai.artifact import active_folder
from services.ai.core.artifact_summary import Summary, read_summary, summary_of, write_summary
from services.ai.core.manifest import parse_manifest
from services.ai.core.promotion_gate import BASELINES, refusals
from services.ai.settings import SHIPPED_MODELS

GOOD = {
    "always_hold": {"log_loss": 1.09},
    "volatility_bins": {"log_loss": 1.03},
    "logistic_regression": {"log_loss": 1.07},
    "ensemble": {"log_loss": 1.01},
}


def test_the_shipped_artifact_may_be_promoted() -> None:
    manifest = parse_manifest((active_folder(SHIPPED_MODELS) / "manifest.json").read_bytes())
    assert refusals(manifest.metrics) == []


def test_what_beats_all_baselines_may_be_promoted() -> None:
    assert refusals(GOOD) == []


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
