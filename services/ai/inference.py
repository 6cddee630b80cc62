"""The models in ONNX Runtime: windows in, one output a row, the same in whatever batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort

from services.ai.core.outputs import Outputs
from services.ai.core.windows import Floats

OUTPUTS = ("valid", "features", "atr_fraction", "model_probs", "probs")
_ASKED = ("valid", "atr_fraction", "model_probs", "probs")
PAD = 8
"""Every run has a multiple of so many rows: a row's bits are then the same in each of them."""
TURN_SECONDS = 0.0001
"""How long a thread keeps the interpreter while another waits for it. After each run the models'
thread waits so long for the event loop where that is busy: with Python's 5 ms longer than a run."""
LARGEST_RUN = 256
"""Rows of one run; larger batches leave the processor's cache and are slower."""


def new_session(content: bytes) -> ort.InferenceSession:
    """Open a session on one core without spinning and without a growing arena."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def padded(windows: Floats) -> Floats:
    """Repeat the last row until the number of rows is a multiple of the padding."""
    missing = -windows.shape[0] % PAD
    if not missing:
        return windows
    return np.concatenate([windows, np.repeat(windows[-1:], missing, axis=0)])


def knobs(weights: Sequence[float] | None) -> dict[str, Floats]:
    """Return the run-time weights as the graph reads them; ValueError when they are no shares.

    The graph itself would answer NaN to weights that are none. When no model is left the
    artifact's own weights stand: nobody trades by them.
    """
    if weights is None or not any(weights):
        return {}
    found = np.array(weights, dtype=np.float32)
    if not np.isfinite(found).all() or found.min() < 0 or abs(float(found.sum()) - 1) > 1e-3:
        raise ValueError(f"weights {tuple(weights)} are not shares of 1")
    return {"weights": found}


def in_runs(blocks: Iterable[Floats], most: int = LARGEST_RUN) -> Iterator[Floats]:
    """Cut and join blocks [rows, T, 5] into runs of `most` rows, in whole steps of the padding.

    What need not be joined is not copied; the last run may be shorter.
    """
    size, held, rows = _steps(most), [], 0
    for block in blocks:
        begin = 0
        while begin < len(block):
            part = block[begin : begin + size - rows]
            held.append(part)
            begin, rows = begin + len(part), rows + len(part)
            if rows == size:
                yield held[0] if len(held) == 1 else np.concatenate(held)
                held, rows = [], 0
    if held:
        yield held[0] if len(held) == 1 else np.concatenate(held)


def predict(
    session: ort.InferenceSession,
    blocks: Iterable[Floats],
    weights: Sequence[float] | None = None,
    most: int = LARGEST_RUN,
) -> Outputs:
    """Return the artifact's outputs for blocks of windows [rows, T, 5], a row each, in order.

    It keeps its thread until all are there. `weights` are the effective shares of the models, the
    artifact's own when not given; `most` rows are asked at once.
    """
    asked, chosen_weights, answers, rows = list(_ASKED), knobs(weights), [], 0
    for run in in_runs(blocks, most):
        if run.dtype != np.float32:  # of the other byte order neither: it would be misread
            raise TypeError(f"windows are {run.dtype}, not float32")
        answers.append(session.run(asked, {"window": padded(run), **chosen_weights}))
        rows += len(run)
    if not answers:
        return Outputs.of([])
    columns = [np.concatenate(parts)[:rows] for parts in zip(*answers, strict=True)]
    valid, atr, member_probs, probs = columns
    doubles = (column.astype(np.float64) for column in (atr, probs, member_probs))
    return Outputs(valid.astype(np.bool_), *doubles)


def _steps(rows: int) -> int:
    """Return a number of rows as whole steps of the padding, at least one and few enough."""
    return min(LARGEST_RUN, -(-rows // PAD) * PAD)


class Inference:
    """Runs the models in threads of their own, so that the event loop goes on."""

    def __init__(self, *, workers: int, most: int = LARGEST_RUN) -> None:
        """`most` windows are given to the models at once."""
        self._workers = workers
        self._most = _steps(most)
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="inference")

    async def predict(
        self,
        session: ort.InferenceSession,
        blocks: Iterable[Floats],
        weights: Sequence[float] | None = None,
    ) -> Outputs:
        """Return the outputs of blocks of windows, in order, by one vector of weights."""
        loop = asyncio.get_running_loop()
        runs = list(in_runs(blocks, self._most))
        share = max(1, -(-len(runs) // self._workers))
        parts = [
            loop.run_in_executor(
                self._executor, predict, session, runs[begin : begin + share], weights, self._most
            )
            for begin in range(0, len(runs), share)
        ]
        return Outputs.joined(await asyncio.gather(*parts))

    async def close(self) -> None:
        """Wait for the runs in hand and end the threads."""
        await asyncio.to_thread(self._executor.shutdown, wait=True)
