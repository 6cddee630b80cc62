"""Serving without the bus: one session against its parts, and ten symbols against a thousand.

CPU time of one thread, so that what else runs counts less. The parts are cut out of the shipped
graph and run one after the other; each is fed what the part before computes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx.utils import Extractor

from services.ai.artifact import LoadedModel, active_folder, load
from services.ai.core.answers import Asked, Policy, answer, ask, batches
from services.ai.core.ensemble import make_gate
from services.ai.core.windows import Windows
from services.ai.inference import new_session, predict
from services.ai.settings import SHIPPED_MODELS
from services.trade.times import DAY_MS
from tests.benchmarks.rows import Row, median
from tests.benchmarks.walk import rounds

PARTS_AIM = 1.15
FLAT_AIM = 1.25
"""A thousand symbols fill more of the processor's cache than ten."""
_ROWS = 256
_RUNS = 25
_HISTORY = 140
_BATCH = 64
_CANDLES = 4_000

Feed = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class _Part:
    session: ort.InferenceSession
    outputs: list[str]


async def measure(home: Path) -> list[Row]:
    """Return the rows; `home` is not used."""
    model = load(active_folder(SHIPPED_MODELS))
    return await asyncio.to_thread(lambda: [_whole_against_parts(model), _ten_against_many(model)])


def _whole_against_parts(model: LoadedModel) -> Row:
    shape = (_ROWS, model.manifest.window, 5)
    window = np.random.default_rng(1).uniform(99, 101, shape).astype(np.float32)
    window[:, :, 1], window[:, :, 2] = 102, 98
    names = [output.name for output in model.session.get_outputs()]
    parts = _cut(model)
    # The first round warms up; whole and parts take turns, so that a load weighs on both.
    whole, apart = [], []
    for _ in range(_RUNS + 1):
        whole.append(_cpu(lambda: model.session.run(names, {"window": window})))
        apart.append(_cpu(lambda: _run_parts(parts, {"window": window})))
    one, sum_ = min(whole[1:]) / _ROWS * 1e6, min(apart[1:]) / _ROWS * 1e6
    return Row(
        path="whole artifact in one session",
        measured=f"{one:.1f} µs/row of CPU",
        floor=f"its parts one by one {sum_:.1f} µs/row",
        ratio=one / sum_,
        aim=PARTS_AIM,
        higher_is_better=False,
        numbers={"whole_us": one, "parts_us": sum_},
    )


def _cut(model: LoadedModel) -> list[_Part]:
    """Return features, each model, and the head as sessions of their own."""
    if model.folder is None:
        raise ValueError("the shipped artifact lies in a folder")
    graph = onnx.load(model.folder / "model.onnx")
    extractor = Extractor(onnx.shape_inference.infer_shapes(graph))
    margins = [f"{name}_margins" for name in model.manifest.models]
    between = ["valid", "features", "atr_fraction", "series", "level"]
    cuts = [(["window"], between)]
    for name, margin in zip(model.manifest.models, margins, strict=True):
        networks = name in ("nhits", "patchtst")
        cuts.append((["series", "level"] if networks else ["features"], [margin]))
    cuts.append((margins, ["model_probs", "probs"]))
    return [
        _Part(new_session(extractor.extract_model(i, o).SerializeToString()), o) for i, o in cuts
    ]


def _run_parts(parts: list[_Part], feed: Feed) -> None:
    known: dict[str, Any] = dict(feed)
    for part in parts:
        wanted = {i.name: known[i.name] for i in part.session.get_inputs()}
        known.update(zip(part.outputs, part.session.run(part.outputs, wanted), strict=True))


def _ten_against_many(model: LoadedModel) -> Row:
    few, many = ([] for _ in range(2))
    for _ in range(3):
        few.append(_a_candle(model, 10))
        many.append(_a_candle(model, 1000))
    ten, thousand = median(few) * 1e6, median(many) * 1e6
    return Row(
        path="a candle of 1,000 symbols",
        measured=f"{thousand:.0f} µs of CPU",
        floor=f"a candle of 10 symbols {ten:.0f} µs",
        ratio=thousand / ten,
        aim=FLAT_AIM,
        higher_is_better=False,
        numbers={"ten_us": ten, "thousand_us": thousand},
    )


def _a_candle(model: LoadedModel, symbols: int) -> float:
    """Return the CPU seconds of a candle: insert, ask, run in batches, answer."""
    live = max(2, _CANDLES // symbols)
    table = rounds([f"B{n:04}USDT" for n in range(symbols)], _HISTORY + live, seed=1)
    policy = Policy(make_gate(model.manifest, 0.05, None), DAY_MS)
    windows = Windows()
    for bars in table[:_HISTORY]:
        windows.insert_round(bars)

    def answered(rounds: list[Asked]) -> None:
        blocks = [asked.windows for asked in rounds]
        outputs = predict(model.session, blocks, model.manifest.weights)
        questions = [question for asked in rounds for question in asked.questions]
        batches(answer(questions, outputs, model.manifest, policy), model.manifest)

    def serve() -> None:
        waiting: list[Asked] = []
        for bars in table[_HISTORY:]:
            for begin in range(0, symbols, _BATCH):
                chosen = bars[begin : begin + _BATCH]
                windows.insert_round(chosen)
                waiting.append(ask(chosen, windows, model.manifest, policy))
                if sum(len(asked.questions) for asked in waiting) >= _BATCH:
                    answered(waiting)
                    waiting = []
        if waiting:
            answered(waiting)

    return _cpu(serve) / (live * symbols)


def _cpu(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began
