"""A row's output does not depend on the batch it travels in."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ai.artifact import LoadedModel, active_folder, load
from services.ai.core.outputs import ModelOutput
from services.ai.core.windows import Floats
from services.ai.inference import PAD, Inference, in_runs, padded
from services.ai.inference import predict as columns
from services.ai.settings import SHIPPED_MODELS
from services.lab.training.artifact import generated_windows

WINDOWS: list[Floats] = list(generated_windows(300, seed=11))


def predict(
    session: ort.InferenceSession,
    windows: Sequence[Floats],
    weights: Sequence[float] | None = None,
) -> list[ModelOutput]:
    return columns(session, [np.stack(windows)], weights).rows()


MODEL = load(active_folder(SHIPPED_MODELS))
ALONE = predict(MODEL.session, WINDOWS)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return MODEL


@settings(max_examples=60)
@given(st.lists(st.integers(0, 299), min_size=1, max_size=70))
def test_any_batch_gives_the_same_outputs_to_the_last_bit(rows: list[int]) -> None:
    found = predict(MODEL.session, [WINDOWS[row] for row in rows])
    assert found == [ALONE[row] for row in rows]


def test_one_row_alone_and_many_runs_agree() -> None:
    assert predict(MODEL.session, WINDOWS[:1]) == ALONE[:1]
    assert predict(MODEL.session, WINDOWS + WINDOWS) == ALONE + ALONE


def test_threads_agree() -> None:
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(predict, MODEL.session, WINDOWS[:64]) for _ in range(8)]
        assert all(run.result() == ALONE[:64] for run in runs)


@pytest.mark.parametrize(("rows", "size"), [(1, 8), (8, 8), (9, 16), (256, 256)])
def test_batches_are_padded_to_a_multiple_of_eight(rows: int, size: int) -> None:
    assert padded(np.stack(WINDOWS[:rows])).shape == (size, 128, 5)


def test_weights_of_a_run_are_those_that_are_asked_for() -> None:
    only = [1.0] + [0.0] * (len(MODEL.manifest.models) - 1)
    found = predict(MODEL.session, WINDOWS[:8], only)
    for row, default in zip(found, ALONE, strict=False):
        assert row.model_probabilities == default.model_probabilities
        assert row.probabilities == pytest.approx(default.model_probabilities[0], abs=1e-7)
    assert predict(MODEL.session, WINDOWS[:8], MODEL.manifest.weights) == ALONE[:8]
    assert predict(MODEL.session, WINDOWS[:8], [0.0] * len(only)) == ALONE[:8]


@pytest.mark.parametrize("weights", [(float("nan"), 1.0), (-1.0, 2.0), (0.4, 0.4), (2.0, 0.0)])
def test_weights_that_are_no_shares_never_reach_the_graph(weights: tuple[float, ...]) -> None:
    """The graph would answer NaN to a vector of NaN, with no error."""
    with pytest.raises(ValueError, match="not shares of 1"):
        predict(MODEL.session, WINDOWS[:8], weights)


@pytest.mark.parametrize("kind", [np.float64, ">f4"])
def test_windows_of_another_type_are_an_error(kind: str) -> None:
    """Those of the other byte order ONNX Runtime would accept and misread."""
    with pytest.raises(TypeError, match="not float32"):
        columns(MODEL.session, [np.stack(WINDOWS[:1]).astype(kind)])


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 80))
def test_blocks_in_runs_are_the_same_rows_in_the_same_order(sizes: list[int], most: int) -> None:
    edges = np.cumsum([0, *sizes])
    rows = np.arange(edges[-1] * 10, dtype=np.float32).reshape(-1, 2, 5)
    blocks = [rows[begin:end] for begin, end in pairwise(edges)]
    found = list(in_runs(blocks, most))
    assert np.array_equal(np.concatenate([rows[:0], *found]), rows)
    full = -(-most // PAD) * PAD
    assert all(len(run) == full for run in found[:-1])
    assert all(0 < len(run) <= full for run in found)


async def test_the_executor_keeps_the_order(model: LoadedModel) -> None:
    inference = Inference(workers=2)
    blocks = [np.stack(WINDOWS[begin : begin + 70]) for begin in range(0, len(WINDOWS), 70)]
    assert (await inference.predict(model.session, blocks)).rows() == ALONE
    assert (await inference.predict(model.session, [])).rows() == []
    await inference.close()


def test_a_broken_window_is_flagged_and_harms_no_other() -> None:
    broken = WINDOWS[2].copy()
    broken[5, 1] = np.nan
    found = predict(MODEL.session, [*WINDOWS[:2], broken, *WINDOWS[3:8]])
    assert [row.valid for row in found] == [True, True, False, *[True] * 5]
    assert [*found[:2], *found[3:]] == [*ALONE[:2], *ALONE[3:8]]
