"""Candles on a real bus, and everything that the ai replicas answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from quantum.ai.v1 import signal_pb2

from services.catalog import subjects
from services.kit.bus.bus import Bus, Message, Outgoing
from services.kit.observe.trace_context import traceparent
from services.trade.candle import Candle
from services.trade.codec import candles_to_bytes
from services.trade.ids import digest, trace_id

VENUE = "paper"
START = 1_900_000_020_000 // 60_000 * 60_000
"""Far from the training range of the shipped artifact."""


def market(symbol: str, count: int, *, start: int = START, seed: int = 1) -> list[Candle]:
    """Return one-minute candles of a random walk."""
    random = np.random.default_rng([seed, *symbol.encode()])
    price, found = Decimal("100.00"), []
    for number in range(count):
        moves = [Decimal(str(round(float(m), 2))) for m in random.normal(0, 0.15, 3)]
        close = max(Decimal(1), price + moves[0])
        found.append(
            Candle(
                venue=VENUE,
                symbol=symbol,
                timeframe="1m",
                open_time=start + number * 60_000,
                open=price,
                high=max(price, close) + abs(moves[1]),
                low=min(price, close) - min(abs(moves[2]), Decimal("0.5")),
                close=close,
                volume=Decimal(str(round(float(random.lognormal(3, 1)), 3))),
            )
        )
        price = close
    return found


def outgoing(*candles: Candle, history: bool = False) -> Outgoing:
    """Return the message of candles as exec_risk publishes it."""
    first = candles[0]
    headers = {
        subjects.HEADER_TIME: str(first.close_time),
        subjects.HEADER_TRACE: traceparent(trace_id(first.key)),
    }
    subject = subjects.round_candles(VENUE, first.timeframe, 0)
    if history:
        headers[subjects.HEADER_HISTORY] = "1"
        subject = subjects.past_candles(VENUE, first.timeframe, first.symbol)
    key = digest(*(candle.key for candle in candles))
    return Outgoing(subject, candles_to_bytes(candles), f"candles-{key}", headers)


async def publish_history(bus: Bus, candles: Sequence[Candle]) -> None:
    """Publish candles that only fill windows."""
    series: dict[str, list[Candle]] = {}
    for candle in candles:
        series.setdefault(candle.symbol, []).append(candle)
    await bus.publish_all([outgoing(*past, history=True) for past in series.values()])


class Answers:
    """Reads what the replicas publish."""

    def __init__(self) -> None:
        self.batches: list[signal_pb2.PredictionBatch] = []
        self.signals: list[tuple[Message, signal_pb2.Signal]] = []
        self.by_candle: dict[tuple[str, int], list[signal_pb2.Prediction]] = defaultdict(list)

    async def start(self, bus: Bus) -> None:
        """Follow predictions and signals."""
        await bus.follow(subjects.LIVE.name, subjects.ALL_PREDICTIONS, self._batch)
        await bus.follow(subjects.LIVE.name, subjects.ALL_SIGNALS, self._signal)

    def _batch(self, message: Message) -> None:
        batch = signal_pb2.PredictionBatch.FromString(message.data)
        self.batches.append(batch)
        for prediction in batch.predictions:
            time = prediction.candle_open_time.seconds * 1000
            self.by_candle[prediction.symbol, time].append(prediction)

    def _signal(self, message: Message) -> None:
        self.signals.append((message, signal_pb2.Signal.FromString(message.data)))

    def has_all(self, candles: Sequence[Candle]) -> bool:
        """Say whether each candle has an answer."""
        return all((c.symbol, c.open_time) in self.by_candle for c in candles)
