"""Candle to signal: the ai process over a real JetStream against ONNX Runtime alone.

One replica, then two, each with one inference thread, against one thread, in batches of the same
size and on windows of the same market: what a tree costs depends on the way that a row takes. The
candles are encoded before the clock starts, as that is the producer's work; publishing and storing
them is in the time. The first repetition only warms up. ONNX Runtime is measured before and after
each repetition, so that a load that comes and goes weighs on both sides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import cast

import psutil
from quantum.ai.v1 import signal_pb2
from quantum.ops.v1.operations_service_pb2 import ServiceHeartbeat

from services.ai.artifact import LoadedModel, active_folder, load
from services.ai.core.windows import Floats, Windows
from services.ai.inference import in_runs
from services.ai.settings import SHIPPED_MODELS
from services.catalog import subjects
from services.catalog.processes import AI
from services.ctl.servers.nats import NatsServer
from services.exec_risk.market.bus_candles import BusCandles
from services.kit.bus.bus import Bus, Message, Outgoing
from services.trade.candle import Candle
from tests.benchmarks.processes import service
from tests.benchmarks.rows import Row, median
from tests.benchmarks.walk import rounds

AIM = 0.6
PANDAS_CANDLES_A_SECOND = 90.0
"""freqtrade 2026.9 with 20 indicators, new candles a CPU second (design, section 8)."""
PANDAS_AIM = 100.0
HISTORY = 160
SYMBOLS = 64
BATCH = 32
"""The setting's default."""
REPETITIONS = 3
ROUNDS = 80
"""Rounds of a repetition; with the history they fit the windows of the market stream."""
_ALONE_SECONDS = 0.5
_READY_ROUNDS = 16
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


class Encoder:
    """Stands where the producer's bus is, and keeps the messages instead of sending them."""

    def __init__(self) -> None:
        self.messages: list[Outgoing] = []

    async def publish_all(self, messages: Sequence[Outgoing]) -> list[int]:
        """Keep the messages."""
        self.messages += messages
        return []

    async def stored(self, stream: str, subject: str, start: str | int) -> list[Message]:
        """Nothing was published before."""
        return []

    async def last_sequence(self, stream: str) -> int:
        """Nothing was published before."""
        return 0


async def measure(home: Path) -> list[Row]:
    """Return throughput against ONNX Runtime and CPU against pandas, for one replica and two."""
    return [
        *_rows(await _measured(home / "one", 1)),
        *_rows_of_two(await _measured(home / "two", 2)),
    ]


@dataclass(frozen=True, slots=True)
class _Measured:
    """Of each repetition after the first: candles a second, and a CPU second of all replicas."""

    whole: list[float]
    alone: list[float]
    """What ONNX Runtime does by itself, around the same time."""
    cpu: list[float]


async def _measured(home: Path, replicas: int) -> _Measured:
    symbols = [f"B{n:03}USDT" for n in range(SYMBOLS)]
    table = rounds(symbols, HISTORY + 1 + (1 + REPETITIONS) * ROUNDS, seed=1)
    model = load(active_folder(SHIPPED_MODELS))
    ready = _ready_windows(table, model.manifest.window)
    home.mkdir(parents=True)
    async with AsyncExitStack() as opened:
        nats = await opened.enter_async_context(NatsServer.start(home / "nats"))
        bus = await Bus.connect(nats.url, "bench")
        opened.push_async_callback(bus.close)
        await bus.declare(subjects.STREAMS)
        answers, candles = Answers(), BusCandles(bus)
        await bus.follow(subjects.LIVE.name, subjects.ALL_PREDICTIONS, answers.take)
        for symbol in range(SYMBOLS):
            await candles.publish([bars[symbol] for bars in table[:HISTORY]], history=True)
        environment = {
            "NATS_URL": nats.url,
            "GRPC_ADDRESS": "127.0.0.1:0",
            "AI_BATCH_SIZE": str(BATCH),
            "AI_NUM_WORKERS": "1",
        }
        processes = [
            await opened.enter_async_context(
                service("services.ai", environment, home / f"ai-{number}.log")
            )
            for number in range(replicas)
        ]
        await _ready(bus, replicas)
        await candles.publish(table[HISTORY], history=False)
        await answers.reach(SYMBOLS, 60)
        running = [psutil.Process(process.pid) for process in processes]
        whole, cpu, alone = [], [], []
        for begin in range(HISTORY + 1, len(table), ROUNDS):
            closed = [candle for bars in table[begin : begin + ROUNDS] for candle in bars]
            encoded = await _encode(closed)
            before = _onnx_alone(model, ready)
            seconds, used = await _repetition(bus, answers, running, encoded, len(closed))
            whole.append(len(closed) / seconds)
            cpu.append(len(closed) / max(0.01, used))
            alone.append((before + _onnx_alone(model, ready)) / 2)
    return _Measured(whole[1:], alone[1:], cpu[1:])


async def _ready(bus: Bus, replicas: int) -> None:
    """Wait until so many replicas say that they can work."""
    ready: set[str] = set()
    changed = asyncio.Event()

    def hear(message: Message) -> None:
        beat = ServiceHeartbeat.FromString(message.data)
        if beat.status == "HEALTHY":
            ready.add(beat.instance)
            changed.set()

    await bus.follow(subjects.LIVE.name, subjects.heartbeat(AI.name), hear)
    async with asyncio.timeout(60):
        while len(ready) < replicas:
            changed.clear()
            await changed.wait()


async def _encode(candles: Sequence[Candle]) -> list[Outgoing]:
    encoder = Encoder()
    await BusCandles(cast("Bus", encoder)).publish(candles, history=False)
    return encoder.messages


async def _repetition(
    bus: Bus,
    answers: Answers,
    running: Sequence[psutil.Process],
    encoded: Sequence[Outgoing],
    candles: int,
) -> tuple[float, float]:
    """Return the seconds until all candles were answered, and the CPU seconds of all replicas."""
    before, began = _cpu_seconds(running), time.perf_counter()
    expected = answers.count + candles
    await bus.publish_all(encoded)
    await answers.reach(expected, 120)
    return time.perf_counter() - began, _cpu_seconds(running) - before


def _cpu_seconds(running: Sequence[psutil.Process]) -> float:
    return float(sum(sum(process.cpu_times()[:2]) for process in running))


def _rows(found: _Measured) -> list[Row]:
    return [
        _throughput("candle to signal, over JetStream", found),
        Row(
            path="candles per CPU second of ai",
            measured=f"{median(found.cpu):,.0f} candles/CPU s",
            floor=f"pandas bot loop {PANDAS_CANDLES_A_SECOND:.0f}/s (published)",
            ratio=median(found.cpu) / PANDAS_CANDLES_A_SECOND,
            aim=PANDAS_AIM,
            higher_is_better=True,
            numbers={"candles_per_cpu_s": median(found.cpu)},
        ),
    ]


def _rows_of_two(found: _Measured) -> list[Row]:
    """Two replicas, publisher and server share the cores of this machine: it may have only two."""
    return [_throughput("the same, two replicas", found)]


def _throughput(path: str, found: _Measured) -> Row:
    ratios = [w / a for w, a in zip(found.whole, found.alone, strict=True)]
    return Row(
        path=path,
        measured=f"{median(found.whole):,.0f} candles/s",
        floor=f"ONNX Runtime alone {median(found.alone):,.0f}/s",
        ratio=median(ratios),
        aim=AIM,
        higher_is_better=True,
        numbers={
            "whole_per_s": median(found.whole),
            "onnx_per_s": median(found.alone),
            "candles_per_cpu_s": median(found.cpu),
        },
    )


def _ready_windows(table: Sequence[Sequence[Candle]], length: int) -> list[Floats]:
    """Return the windows that the service will have of the first live candles, in its batches."""
    windows, found = Windows(), []
    for number, bars in enumerate(table[: HISTORY + _READY_ROUNDS]):
        windows.insert_round(bars)
        if number >= HISTORY:
            found.append(windows.windows(bars, length)[1])
    return list(in_runs(found, BATCH))


def _onnx_alone(model: LoadedModel, ready: Sequence[Floats]) -> float:
    """Return rows a second of the shipped artifact on ready windows, in the service's batches."""
    rows, began = 0, time.perf_counter()
    for run in cycle(ready):
        model.session.run(_OUTPUTS, {"window": run})
        rows += len(run)
        if (seconds := time.perf_counter() - began) > _ALONE_SECONDS:
            return rows / seconds
    raise ValueError("no windows")
