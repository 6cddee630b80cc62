"""The networks' graphs are the networks, with and without the framework that trains them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest

from services.lab.training import networks
from services.lab.training.artifact import generated_windows, odd_windows
from services.lab.training.data import FeatureReader, Inputs
from services.lab.training.features import WINDOW, build_features
from services.lab.training.members import NetPlan, predict_graph
from tests.unit.lab import reference_networks

Array = npt.NDArray[np.float64]

CASES = {
    "nhits": (networks.nhits_to_onnx, reference_networks.nhits),
    "patchtst": (networks.patchtst_to_onnx, reference_networks.patchtst),
}


def inputs_of(windows: npt.NDArray[np.float32]) -> Inputs:
    ends = np.arange(1, len(windows) + 1, dtype=np.int64) * WINDOW - 1
    read = FeatureReader(build_features()).read(windows.reshape(-1, 5), ends, lambda _: None)
    return Inputs(read.features, read.series, read.level)


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    return inputs_of(generated_windows(64, seed=6))


@pytest.mark.parametrize("name", CASES)
def test_the_graph_equals_plain_numpy(name: str, inputs: Inputs) -> None:
    write, plain = CASES[name]
    weights = reference_networks.random_weights(name)
    session = ort.InferenceSession(
        write(weights).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (margins,) = session.run(None, {"series": inputs.series, "level": inputs.level})
    expected = plain(inputs.series.astype(np.float64), inputs.level.astype(np.float64), weights)
    assert abs(margins - expected).max() < 1e-4
    assert margins.std(axis=0).min() > 1e-3


def test_the_series_is_the_window_in_units_of_its_noise() -> None:
    windows = generated_windows(32, seed=6)
    found = inputs_of(windows)
    bars = windows.astype(np.float64)
    last = bars[:, -1:, 3]
    unit = 8 * (np.diff(bars[:, :, 3], axis=1)[:, -120:] / last).std(axis=1, keepdims=True)
    for channel, column, sign in ((0, 0, 1), (1, 1, 1), (2, 2, -1), (3, 3, 1)):
        expected = np.clip(sign * (bars[:, :, column] - last) / last / unit, -8, 8)
        assert np.allclose(found.series[:, channel], expected, atol=1e-3)
    share = bars[:, :, 4] / bars[:, :, 4].mean(axis=1, keepdims=True)
    assert np.allclose(found.series[:, 4], np.log1p(share) - 0.7, atol=1e-4)
    assert np.allclose(found.level[:, 2], np.log(unit[:, 0] / 8) + 7, atol=1e-3)


def test_flat_and_silent_windows_are_finite_for_networks() -> None:
    """The first silent trap: an epsilon that an optimiser deletes makes these infinite."""
    odd = [window for _, window, _ in odd_windows(generated_windows(1)[0])]
    found = inputs_of(np.stack(odd))
    assert np.isfinite(found.series).all()
    assert np.isfinite(found.level).all()
    assert abs(found.series).max() <= 8.0


@pytest.mark.parametrize("name", CASES)
def test_the_graph_equals_torch_and_the_seed_decides(name: str, inputs: Inputs) -> None:
    pytest.importorskip("torch", reason="the extra [deep] is not installed")
    from services.lab.training import deep

    write: Callable[..., object] = CASES[name][0]
    labels = np.arange(64) % 3
    plan = NetPlan(epochs=2, batch=16, hidden=8, width=8)
    first = deep.fit(name, inputs, labels, plan)
    model = CASES[name][0](first.weights())
    assert abs(predict_graph(model, inputs) - deep.predict(first, inputs)).max() < 1e-5
    again = write(deep.fit(name, inputs, labels, plan).weights())
    assert again == model
