"""What training reads, what serving computes and plain NumPy are the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from services.ai.artifact import active_folder
from services.ai.settings import SHIPPED_MODELS
from services.lab.training.artifact import Artifact, generated_windows
from services.lab.training.data import FeatureReader
from services.lab.training.features import FEATURES, WINDOW, build_features
from tests.unit.lab.reference_features import reference

PART = 1000


def assert_parity(count: int, seed: int) -> None:
    """Compare windows of random prices, volumes and wildness, a thousand at a time."""
    reader = FeatureReader(build_features())
    shipped = Artifact((active_folder(SHIPPED_MODELS) / "model.onnx").read_bytes())
    for start in range(0, count, PART):
        windows = generated_windows(min(PART, count - start), seed=seed + start)
        ends = np.arange(1, len(windows) + 1, dtype=np.int64) * WINDOW - 1
        trained = reader.read(windows.reshape(-1, 5), ends, lambda _: None)
        # Training runs batches of 256; serving may run any multiple of 8.
        for first in range(0, len(windows) - 255, 256):
            served = shipped.run(windows[first : first + 256])
            rows = slice(first, first + 256)
            assert served["features"].tobytes() == trained.features[rows].tobytes()
            assert served["atr_fraction"].tobytes() == trained.atr_fraction[rows].tobytes()
        assert trained.valid.all()
        plain = [reference(window) for window in windows]
        for index, name in enumerate(FEATURES):
            wanted = np.array([row[name] for row, _ in plain])
            worst = abs(trained.features[:, index] - wanted).max()
            assert worst <= 1e-3 * wanted.std() + 1e-9, f"{name} differs by {worst}"


def test_training_serving_and_numpy_agree_on_random_windows() -> None:
    """Incident 94: what a model was trained on is what it is asked with."""
    assert_parity(512, seed=100)


@pytest.mark.drill
@pytest.mark.timeout(900)
def test_training_serving_and_numpy_agree_on_ten_thousand_random_windows() -> None:
    """Incident 94, the long form."""
    assert_parity(10_000, seed=10_000)
