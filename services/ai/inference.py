"""The models in ONNX Runtime: windows in, one output a row, the same in whatever batch."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort

from services.ai.core.outputs import Outputs
from services.ai.core.windows import Floats

OUTPUTS = ("valid", "features", "atr_fraction", "model_probs", "probs")
_ASKED = ("valid", "atr_fraction", "model_probs", "probs")
PAD = 8
"""Every run has a multiple of so many rows: a row's bits are then the same in each of them."""
TURN_SECONDS = 0.0005
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


def predict(
    session: ort.InferenceSession,
    windows: Sequence[Floats],
    weights: Sequence[float] | None = None,
    most: int = LARGEST_RUN,
) -> Outputs:
    """Return the artifact's outputs for windows [T, 5], a row each. Blocks; no order is lost.

    `weights` are the effective shares of the models, the artifact's own when not given; `most`
    rows are asked at once, in whole steps of the padding.
    """
    if not windows:
        return Outputs.of([])
    # Between two runs as little as can be: for each step the thread may have to wait its turn.
    stacked, step = padded(np.stack(windows)), _steps(most)
    if stacked.dtype != np.float32:  # stacking has made the byte order the machine's
        raise TypeError(f"windows are {stacked.dtype}, not float32")
    asked, chosen_weights = list(_ASKED), knobs(weights)
    runs = [
        session.run(asked, {"window": stacked[start : start + step], **chosen_weights})
        for start in range(0, len(stacked), step)
    ]
    columns = [np.concatenate(parts)[: len(windows)] for parts in zip(*runs, strict=True)]
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
        windows: Sequence[Floats],
        weights: Sequence[float] | None = None,
    ) -> Outputs:
        """Return the outputs of the windows, in order, by one vector of weights."""
        loop = asyncio.get_running_loop()
        runs = -(-len(windows) // self._most)
        share = max(1, -(-runs // self._workers)) * self._most
        parts = [
            loop.run_in_executor(
                self._executor,
                predict,
                session,
                windows[start : start + share],
                weights,
                self._most,
            )
            for start in range(0, len(windows), share)
        ]
        return Outputs.joined(await asyncio.gather(*parts))

    async def close(self) -> None:
        """Wait for the runs in hand and end the threads."""
        await asyncio.to_thread(self._executor.shutdown, wait=True)
