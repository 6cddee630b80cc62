"""Signal to order sent: exec_risk alone, against each part of its way in the same run."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import asyncpg
from quantum.ai.v1 import signal_pb2
from quantum.analytics.v1 import events_pb2

from services.catalog import subjects
from services.exec_risk.core.exchange_events import Accepted
from services.kit.bus.bus import Bus, Message, Outgoing
from services.trade.candle import Candle
from services.trade.codec import candles_from_bytes, time_to_pb
from tests.benchmarks.candle_to_order import (
    LONGEST_SECONDS,
    P50_AIM,
    P99_AIM,
    SAMPLES,
    Entries,
    Stack,
    floor_exchange,
    floor_order,
    stack,
)
from tests.benchmarks.processes import command, service
from tests.benchmarks.rows import Row, percentile
from tests.support.advice import batch_of


class RoundAnswers:
    """Answers each round in one message, as soon as all its candles have come."""

    def __init__(self, bus: Bus, symbols: int) -> None:
        self._bus = bus
        self._symbols = symbols
        self._rounds: dict[int, list[Candle]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.published: dict[int, float] = {}
        """Wall time, seconds, at which the answers of a round were handed to the bus."""

    def take(self, message: Message) -> None:
        """Take a candle; the last one of its round leads to the answer."""
        if subjects.HEADER_HISTORY in message.headers:
            return
        candles = candles_from_bytes(message.data).candles
        closes = candles[0].close_time
        gathered = self._rounds.setdefault(closes, [])
        gathered += candles
        if len(gathered) == self._symbols:
            del self._rounds[closes]
            task = asyncio.create_task(self._answer(gathered))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, candles: list[Candle]) -> None:
        first = candles[0]
        batch = signal_pb2.PredictionBatch()
        for candle in candles:
            batch.MergeFrom(batch_of(candle))
        observed = events_pb2.RoundObserved(account="main", time=time_to_pb(first.close_time))
        subject = subjects.prediction(first.venue, first.timeframe)
        self.published[first.close_time] = time.time()
        await self._bus.publish_all(
            [
                Outgoing(subject, batch.SerializeToString(), f"answers-{first.key}"),
                Outgoing(
                    subjects.round_observed("main"),
                    observed.SerializeToString(),
                    f"observed-{first.close_time}",
                ),
            ]
        )


async def measure(home: Path) -> list[Row]:
    """Return the rows of the median and of the slowest hundredth."""
    async with stack(home) as parts:
        whole = await _whole_path(parts)
        floor = await _floors(parts)
    return [
        _row("p50", percentile(whole, 0.5), percentile(floor, 0.5), P50_AIM, len(whole)),
        _row("p99", percentile(whole, 0.99), percentile(floor, 0.99), P99_AIM, len(whole)),
    ]


def _row(name: str, whole: float, floor: float, aim: float, samples: int) -> Row:
    return Row(
        path=f"signals published to order at the venue, {name}",
        measured=f"{whole * 1e3:.1f} ms ({samples} rounds)",
        floor=f"publish, commit, order alone {floor * 1e3:.1f} ms",
        ratio=whole / floor,
        aim=aim,
        higher_is_better=False,
        numbers={"whole_ms": whole * 1e3, "floor_ms": floor * 1e3, "samples": samples},
    )


async def _whole_path(parts: Stack) -> list[float]:
    environment, entries = parts.environment(), Entries(parts.venue)
    await command("services.exec_risk", "migrate", environment)
    async with AsyncExitStack() as running:
        bus = await Bus.connect(parts.nats.url, "bench-answers")
        running.push_async_callback(bus.close)
        answers = RoundAnswers(bus, len(parts.venue.exchange.market.symbols))
        await bus.follow(subjects.MARKET.name, subjects.ALL_CANDLES, answers.take, start="all")
        log = parts.home / "exec_risk.log"
        await running.enter_async_context(service("services.exec_risk", environment, log))
        deadline = time.monotonic() + LONGEST_SECONDS
        while len(entries.wall) < SAMPLES and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
    seconds = entries.seconds(answers.published)
    if len(seconds) < SAMPLES // 5:
        raise RuntimeError(f"only {len(seconds)} rounds led to an entry; see {log}")
    # the first rounds open connections and fill caches
    return seconds[len(seconds) // 10 :]


async def _floors(parts: Stack) -> list[float]:
    """Return what the parts take one after another, each alone, in seconds."""
    bus = await Bus.connect(parts.nats.url, "bench-floor")
    connection = await asyncpg.connect(parts.dsn)
    await connection.execute("create table floor (id bigserial primary key, body text)")
    exchange = floor_exchange(parts)
    order, taken = await floor_order(parts, exchange), []
    subject = subjects.prediction("floor", "1m")
    try:
        for number in range(60):
            sent = replace(order, client_order_id=f"qtf{number}-floor")
            began = time.perf_counter()
            await bus.publish_all([Outgoing(subject, bytes(900), f"floor-{number}")])
            await connection.execute("insert into floor (body) values ($1)", "x" * 500)
            outcome = await exchange.place(sent, signed_at=time.time_ns() // 1_000_000)
            taken.append(time.perf_counter() - began)
            if not isinstance(outcome, Accepted):
                # a refusal is cheaper than an order
                raise RuntimeError(f"the floor's order was not accepted: {outcome}")
    finally:
        await exchange.close()
        await connection.close()
        await bus.close()
    return taken[len(taken) // 10 :]
