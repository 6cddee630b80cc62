"""The converter equals the libraries, also on the thresholds themselves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.lab.training.boosters import FITS, BoosterPlan, Fit
from services.lab.training.trees import float32_floor

PLAN = BoosterPlan(rounds=12, leaves=15, min_rows_in_leaf=5)


def data(rows: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    features = random.normal(0, 1, (rows, 6)).astype(np.float32)
    score = features[:, 0] + 0.5 * features[:, 1] * features[:, 2] + random.normal(0, 0.5, rows)
    return features, np.digitize(score, [-0.5, 0.5]).astype(np.int64)


def softmax(margins: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    powers = np.exp(margins.astype(np.float64) - margins.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return shares


@pytest.mark.parametrize("fit", FITS, ids=lambda f: f.__name__)
def test_the_graph_equals_the_library(fit: Fit) -> None:
    features, labels = data(1500, 1)
    model = fit(features, labels, PLAN)
    session = ort.InferenceSession(
        model.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    fresh, _ = data(4000, 2)
    # Rows from training lie exactly beside the thresholds, where wrong rounding shows.
    rows = np.concatenate([features, np.nextafter(features, np.float32(9)), fresh])
    margins = session.run(None, {"features": rows})[0]
    assert abs(softmax(margins) - model.predict(rows)).max() < 1e-6


@pytest.mark.parametrize("fit", FITS, ids=lambda f: f.__name__)
def test_the_same_seed_gives_the_same_bytes(fit: Fit) -> None:
    features, labels = data(800, 1)
    first, second = (fit(features, labels, PLAN).to_onnx().SerializeToString() for _ in range(2))
    assert first == second


@given(st.floats(-(2.0**99), 2.0**99), st.floats(-(2.0**99), 2.0**99, width=32))
def test_rounding_down_keeps_every_float32_on_its_side(threshold: float, x: float) -> None:
    assert (np.float32(x) <= float32_floor(threshold)) == (x <= threshold)
