"""The features graph against float64 NumPy, on hostile windows, and against the future."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from services.lab.training.artifact import generated_windows, odd_windows
from services.lab.training.data import FeatureReader, make_rows, read_series
from services.lab.training.features import FEATURES, WINDOW, build_features
from services.trade.barrier_label import LabelRule
from tests.unit.lab.generated_series import generated_series
from tests.unit.lab.reference_features import reference

Floats = npt.NDArray[np.float32]


class Graph:
    def __init__(self) -> None:
        self.model = build_features()
        self.reader = FeatureReader(self.model)

    def run(self, windows: Floats) -> tuple[npt.NDArray[np.bool_], Floats, Floats]:
        bars = windows.reshape(-1, 5)
        ends = np.arange(len(windows), dtype=np.int64) * WINDOW + WINDOW - 1
        read = self.reader.read(bars, ends, lambda _: None)
        return read.valid, read.features, read.atr_fraction


@pytest.fixture(scope="module")
def graph() -> Graph:
    return Graph()


def windows_of(bars: npt.NDArray[np.float64], count: int) -> Floats:
    starts = np.linspace(0, len(bars) - WINDOW, count).astype(int)
    return np.stack([bars[s : s + WINDOW] for s in starts]).astype(np.float32)


def assert_equals_reference(graph: Graph, windows: Floats) -> None:
    valid, features, atr = graph.run(windows)
    assert valid.all()
    expected = [reference(window) for window in windows]
    for index, name in enumerate(FEATURES):
        wanted = np.array([row[name] for row, _ in expected])
        worst = abs(features[:, index] - wanted).max()
        assert worst <= 1e-3 * wanted.std() + 1e-9, f"{name} differs by {worst}"
    assert np.allclose(atr, [a for _, a in expected], rtol=1e-4)


def test_the_names_are_unique_and_the_graph_is_sound(graph: Graph) -> None:
    assert len(set(FEATURES)) == len(FEATURES) == 40
    onnx.checker.check_model(graph.model, full_check=True)


def test_features_equal_the_reference_on_generated_windows(graph: Graph) -> None:
    assert_equals_reference(graph, generated_windows(400, seed=5))


def test_features_equal_the_reference_on_a_market_with_ticks(graph: Graph) -> None:
    assert_equals_reference(graph, windows_of(generated_series(5000).bars, 300))


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ENAUSDT", "XLMUSDT"])
def test_features_equal_the_reference_on_recorded_windows(
    graph: Graph, quantum_data: Path, symbol: str
) -> None:
    series = read_series(quantum_data / "perp-1m-2025-05" / f"{symbol}_1m.csv.gz")
    assert_equals_reference(graph, windows_of(series.bars, 150))


def test_flat_and_silent_windows_give_finite_features(graph: Graph) -> None:
    base = generated_windows(1)[0]
    odd = [window for _, window, valid in odd_windows(base) if valid]
    almost_flat = np.full((WINDOW, 5), 100.0, dtype=np.float32)
    almost_flat[-1, 1] = almost_flat[-1, 3] = np.float32(100.01)
    early_move = np.full((WINDOW, 5), 100.0, dtype=np.float32)
    early_move[:2, 0:4] = np.float32(99.0)
    early_move[1, 1] = early_move[1, 3] = np.float32(100.0)
    valid, features, atr = graph.run(np.stack([*odd, almost_flat, early_move]))
    assert valid.all()
    assert np.isfinite(features).all()
    assert np.isfinite(atr).all()
    assert abs(features).max() < 1e4


@pytest.mark.parametrize("bar", [0, 1, 63, 126, 127])
@pytest.mark.parametrize(
    ("column", "number"),
    [
        (0, np.nan), (1, np.nan), (2, np.nan), (3, np.nan), (4, np.nan),
        (1, np.inf), (3, -np.inf), (2, 0.0), (2, -1.0), (0, 1e9), (3, 1e9), (4, -1.0),
        (1, 1e-9), (2, 1e9),
    ],
)  # fmt: skip
def test_a_broken_bar_anywhere_is_flagged_and_harms_no_other_row(
    graph: Graph, bar: int, column: int, number: float
) -> None:
    good = generated_windows(8, seed=9)
    before = graph.run(good)
    broken = good.copy()
    broken[3, bar, column] = number
    valid, features, atr = graph.run(broken)
    assert valid.tolist() == [row != 3 for row in range(8)]
    assert not features[3].any()
    assert atr[3] == 0.0
    others = [row for row in range(8) if row != 3]
    assert features[others].tobytes() == before[1][others].tobytes()


def test_changing_the_future_changes_no_feature(graph: Graph) -> None:
    series = generated_series(1000)
    rule = LabelRule(horizon=15)
    before = make_rows(series, graph.reader, rule, 7, lambda _: None)
    cut = 600
    series.bars[cut:, :4] *= 1.5
    after = make_rows(series, graph.reader, rule, 7, lambda _: None)
    past = before.times <= series.times[cut]
    assert past.any()
    assert before.features[past].tobytes() == after.features[past].tobytes()
    assert before.features[~past].tobytes() != after.features[~past].tobytes()


def test_a_label_looks_no_further_than_its_purge(graph: Graph) -> None:
    series = generated_series(1000)
    rule = LabelRule(horizon=15)
    before = make_rows(series, graph.reader, rule, 1, lambda _: None)
    cut = 600
    series.bars[cut:, :4] *= 1.5
    after = make_rows(series, graph.reader, rule, 1, lambda _: None)
    safe = before.times + rule.purge * 60_000 <= series.times[cut] + 60_000
    assert before.labels[safe].tolist() == after.labels[safe].tolist()
    assert before.moves[safe].tolist() == after.moves[safe].tolist()
