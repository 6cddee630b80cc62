"""What a model's confidence does in a block of time without any drift is measured, not guessed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from services.ai.artifact import active_folder, load
from services.ai.core.drift import DRIFT, edges_of
from services.ai.core.manifest import BadManifest, parse_manifest
from services.ai.core.watch import BLOCK_BARS
from services.ai.inference import padded
from services.ai.settings import SHIPPED_MODELS
from services.lab.training.data import candle_files, read_series
from services.lab.training.usual_drift import LEAST_ROWS, excesses, usual_drift
from tests.unit.ai.candle_samples import MINUTE

EDGES = edges_of([0.05 + 0.1 * n for n in range(10)])


def swinging(strength: float, blocks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Times and confidences that calm and wild blocks move up and down."""
    random = np.random.default_rng(seed)
    times = np.arange(1, blocks * BLOCK_BARS + 1, 6) * MINUTE
    moved = random.normal(0, strength, blocks)[(times - MINUTE) // (BLOCK_BARS * MINUTE)]
    return times, np.clip(random.uniform(0, 1, times.size) + moved, 0.0, 1.0)


def test_one_block_in_a_hundred_exceeds_what_is_usual() -> None:
    times, wild = swinging(0.3, 600, seed=1)
    said = {"wild": wild} | {n: swinging(0.05, 600, seed=i)[1] for i, n in enumerate("abc", 2)}
    edges = dict.fromkeys(said, EDGES)
    usual = usual_drift(said, times, MINUTE, edges)
    assert usual["wild"] > 4 * max(usual[name] for name in "abc")
    later, found = swinging(0.3, 600, seed=9)[0], {"wild": swinging(0.3, 600, seed=9)[1]}
    found |= {n: swinging(0.05, 600, seed=20 + i)[1] for i, n in enumerate("abc")}
    exceeded = np.array(excesses(found, later, MINUTE, edges)["wild"]) > usual["wild"]
    assert exceeded.mean() < 0.03


def test_blocks_of_few_rows_say_nothing() -> None:
    times = np.arange(1, LEAST_ROWS) * MINUTE
    said = {"a": np.full(times.size, 0.5), "b": np.full(times.size, 0.9)}
    assert usual_drift(said, times, MINUTE, dict.fromkeys(said, EDGES)) == {}


@pytest.mark.parametrize("much", [-0.1, float("nan"), float("inf")])
def test_a_manifest_whose_usual_drift_is_no_amount_is_refused(much: float) -> None:
    raw = json.loads((active_folder(SHIPPED_MODELS) / "manifest.json").read_text())
    with pytest.raises(BadManifest, match="usual drift"):
        parse_manifest(json.dumps(raw | {"usual_drift": {"patchtst": much}}))


def test_no_model_drifts_where_it_was_trained(quantum_data: Path) -> None:
    """Incident 101: by the middle of the models alone PatchTST drifted on every second half day
    of the very months that it was trained on.
    """
    model = load(active_folder(SHIPPED_MODELS))
    manifest = model.manifest
    (path,) = candle_files(quantum_data / "spot-btc-1m-2024-2025")
    series = read_series(path)
    times = series.times + MINUTE
    blocks = (times - MINUTE) // (BLOCK_BARS * MINUTE)
    chosen = (blocks % 24 == 5) & (times <= manifest.trained_to) & (times % (12 * MINUTE) == 0)
    ends = np.flatnonzero(chosen)
    ends = ends[ends >= manifest.window]
    views = np.lib.stride_tricks.sliding_window_view(
        series.bars.astype(np.float32), manifest.window, axis=0
    )
    said = []
    for begin in range(0, ends.size, 256):
        part = ends[begin : begin + 256]
        windows = np.ascontiguousarray(views[part - manifest.window + 1].transpose(0, 2, 1))
        (found,) = model.session.run(["model_probs"], {"window": padded(windows)})
        said.append(found[: part.size, :, [0, 2]].max(axis=2).astype(np.float64))
    confidence = dict(zip(manifest.models, np.concatenate(said).T, strict=True))
    found = excesses(confidence, times[ends], MINUTE, manifest.usual_confidence)
    for name, values in found.items():
        above = np.array(values)
        assert len(above) >= 35
        assert np.mean(above - manifest.usual_drift[name] > DRIFT) <= 0.03, name
    # without it the rule would exclude one of them most of the time
    assert np.mean(np.array(found["patchtst"]) > DRIFT) > 0.3
