"""Two artifacts on the same candles: what is said of them is what a plain count says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.ai.settings import SHIPPED_MODELS
from services.lab.training import artifact
from services.lab.training.compare import Compared, compare
from services.lab.training.data import Series
from services.lab.training.shelf import GRAPH, Shelved, label_rule, read_folder
from services.trade.barrier_label import label_moves
from tests.unit.lab.generated_series import generated_series

EVERY = 3
LONG = 1_200
FOUR, TREES = sorted(folder for folder in SHIPPED_MODELS.iterdir() if folder.is_dir())


@pytest.fixture(scope="module")
def four() -> Shelved:
    return read_folder(FOUR)


@pytest.fixture(scope="module")
def trees() -> Shelved:
    return read_folder(TREES)


def told(first: Shelved, second: Shelved, *series: Series) -> Compared:
    return compare(first, second, series, label_rule(first), EVERY, lambda _: None)


@pytest.fixture(scope="module")
def both(four: Shelved, trees: Shelved) -> Compared:
    return told(four, trees, generated_series(LONG), generated_series(LONG, seed=4, symbol="B"))


def test_an_artifact_is_no_better_than_itself(four: Shelved) -> None:
    found = told(four, four, generated_series(LONG))
    assert (found.same_side, found.same_signals, found.log_loss_difference) == (1.0, 1.0, 0.0)
    assert found.interval == (0.0, 0.0)
    assert found.correlation == pytest.approx(1.0)
    assert found.first == found.second


def test_the_order_of_the_two_only_turns_the_signs(four: Shelved, trees: Shelved) -> None:
    series = generated_series(LONG)
    one = compare(four, trees, [series], label_rule(four), EVERY, lambda _: None)
    other = compare(trees, four, [series], label_rule(four), EVERY, lambda _: None)
    assert (one.first.version, one.second.version) == (other.second.version, other.first.version)
    assert one.rows == other.rows
    # Labels follow the first one's measure of volatility, which is that of the same graph.
    assert one.log_loss_difference == pytest.approx(-other.log_loss_difference, abs=1e-6)
    assert one.same_side == other.same_side
    assert one.same_signals == other.same_signals


def test_the_difference_is_that_of_a_plain_count(
    four: Shelved, trees: Shelved, both: Compared
) -> None:
    """Row by row, in batches of eight equal windows: no row depends on the rows around it."""
    graphs = [artifact.Artifact(each.files[GRAPH]) for each in (four, trees)]
    rule, losses, sides = label_rule(four), [], []
    for series in (generated_series(LONG), generated_series(LONG, seed=4, symbol="B")):
        bars = series.bars.astype(np.float32)
        for end in range(127, LONG - rule.horizon, EVERY):
            windows = np.repeat(bars[end - 127 : end + 1][None], 8, axis=0)
            runs = [graph.run(windows) for graph in graphs]
            ends = np.array([end])
            atr = runs[0]["atr_fraction"][:1].astype(np.float32)
            label, _ = label_moves(series.bars, ends, atr, rule)
            said = [run["probs"][0].astype(np.float64) for run in runs]
            losses.append(np.log(said[0][label[0]]) - np.log(said[1][label[0]]))
            sides.append(np.argmax(said[0][[0, 2]]) == np.argmax(said[1][[0, 2]]))
    assert both.rows == len(losses)
    assert both.symbols == 2
    assert both.log_loss_difference == pytest.approx(float(np.mean(losses)), abs=1e-6)
    assert both.same_side == pytest.approx(float(np.mean(sides)))
    low, high = both.interval
    assert low <= both.log_loss_difference <= high


def test_rows_of_the_training_range_are_told(four: Shelved) -> None:
    series = generated_series(400)
    inside = replace(series, times=series.times - series.times[0] + four.manifest.trained_from)
    assert told(four, four, series).first.in_sample == 0.0
    assert told(four, four, inside).first.in_sample == 1.0


def test_what_cannot_be_compared_is_refused(four: Shelved) -> None:
    with pytest.raises(ValueError, match=r"\['15m', '1m'\]"):
        told(four, four, replace(generated_series(400), timeframe="15m"))
    with pytest.raises(ValueError, match="too few"):
        told(four, four, generated_series(120))


def test_a_series_that_is_too_short_is_passed_over(four: Shelved) -> None:
    found = told(four, four, generated_series(400), generated_series(120, symbol="B"))
    assert found.rows == told(four, four, generated_series(400)).rows


def test_candles_that_no_model_may_answer_are_left_out(four: Shelved) -> None:
    whole = generated_series(600)
    broken = replace(whole, bars=whole.bars.copy())
    broken.bars[300, 3] = np.nan
    found = told(four, four, broken)
    assert 0 < found.rows < told(four, four, whole).rows
    assert np.isfinite(found.log_loss_difference)
