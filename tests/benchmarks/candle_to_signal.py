"""Candle to signal: the ai process over a real JetStream against ONNX Runtime alone."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import psutil
from quantum.ai.v1 import signal_pb2

from services.ai.artifact import active_folder, load
from services.ai.inference import padded
from services.ai.settings import SHIPPED_MODELS, Settings
from services.catalog import subjects
from services.ctl.servers.nats import NatsServer
from services.exec_risk.consumers import BusCandles
from services.kit.bus import Bus, Message
from tests.benchmarks.processes import service
from tests.benchmarks.rows import Row, median
from tests.benchmarks.walk import rounds

AIM = 0.6
PANDAS_CANDLES_A_SECOND = 90.0
"""freqtrade 2026.9 with 20 indicators, new candles a CPU second (design, section 8)."""
PANDAS_AIM = 100.0
HISTORY = 160
SYMBOLS = 64
REPETITIONS = 3
ROUNDS = 40
_OUTPUTS = ["valid", "atr_fraction", "model_probs", "probs"]


class Answers:
    """Counts the answers that all replicas have stored."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    def take(self, message: Message) -> None:
        """Count a batch."""
        self.count += len(signal_pb2.PredictionBatch.FromString(message.data).predictions)
        self._changed.set()

    async def reach(self, count: int, seconds: float) -> None:
        """Wait for so many answers; TimeoutError when they do not come."""
        async with asyncio.timeout(seconds):
            while self.count < count:
                self._changed.clear()
                await self._changed.wait()


async def measure(home: Path) -> list[Row]:
    """Return throughput against ONNX Runtime, and candles per CPU second against pandas."""
    symbols = [f"B{n:03}USDT" for n in range(SYMBOLS)]
    table = rounds(symbols, HISTORY + 1 + REPETITIONS * ROUNDS, seed=1)
    async with NatsServer.start(home / "nats") as nats:
        bus = await Bus.connect(nats.url, "bench")
        await bus.declare(subjects.STREAMS)
        answers, candles = Answers(), BusCandles(bus)
        await bus.follow(subjects.LIVE.name, subjects.ALL_PREDICTIONS, answers.take)
        for symbol in range(SYMBOLS):
            await candles.publish([bars[symbol] for bars in table[:HISTORY]], history=True)
        environment = {"NATS_URL": nats.url, "GRPC_ADDRESS": "127.0.0.1:0"}
        async with service("services.ai", environment, home / "ai.log") as process:
            await candles.publish(table[HISTORY], history=False)
            await answers.reach(SYMBOLS, 60)
            running = psutil.Process(process.pid)
            whole, cpu, alone = [], [], []
            for number in range(REPETITIONS):
                begin = HISTORY + 1 + number * ROUNDS
                flat = [c for bars in table[begin : begin + ROUNDS] for c in bars]
                alone.append(_onnx_alone(len(flat)))
                before, began = sum(running.cpu_times()[:2]), time.perf_counter()
                expected = answers.count + len(flat)
                await candles.publish(flat, history=False)
                await answers.reach(expected, 120)
                whole.append(len(flat) / (time.perf_counter() - began))
                cpu.append(len(flat) / max(0.01, sum(running.cpu_times()[:2]) - before))
        await bus.close()
    return _rows(whole, alone, cpu)


def _rows(whole: list[float], alone: list[float], cpu: list[float]) -> list[Row]:
    ratio = median([w / a for w, a in zip(whole, alone, strict=True)])
    numbers = {"whole_per_s": median(whole), "onnx_per_s": median(alone)}
    return [
        Row(
            path="candle to signal, over JetStream",
            measured=f"{median(whole):,.0f} candles/s",
            floor=f"ONNX Runtime alone {median(alone):,.0f}/s",
            ratio=ratio,
            aim=AIM,
            higher_is_better=True,
            numbers=numbers,
        ),
        Row(
            path="candles per CPU second of ai",
            measured=f"{median(cpu):,.0f} candles/CPU s",
            floor=f"pandas bot loop {PANDAS_CANDLES_A_SECOND:.0f}/s (published)",
            ratio=median(cpu) / PANDAS_CANDLES_A_SECOND,
            aim=PANDAS_AIM,
            higher_is_better=True,
            numbers={"candles_per_cpu_s": median(cpu)},
        ),
    ]


def _onnx_alone(count: int) -> float:
    """Return rows a second of the shipped artifact on ready windows, in the service's batches."""
    model = load(active_folder(SHIPPED_MODELS))
    batch = Settings().ai_batch_size
    shape = (batch, model.manifest.window, 5)
    ready = np.random.default_rng(1).uniform(99, 101, shape).astype(np.float32)
    ready[:, :, 1], ready[:, :, 2] = 102, 98
    ready = padded(ready)
    model.session.run(_OUTPUTS, {"window": ready})
    runs = max(1, count // batch)
    began = time.perf_counter()
    for _ in range(runs):
        model.session.run(_OUTPUTS, {"window": ready})
    return runs * batch / (time.perf_counter() - began)
