"""The last predictions and the signals of all replicas, read from the bus."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from quantum.ai.v1 import signal_pb2

from services.ai.core.answers import Batch
from services.ai.core.watch import ModelWatch
from services.ai.measures import Measures
from services.ai.own_words import OwnWords, votes_of
from services.catalog import subjects
from services.kit.bus.bus import Bus, Message
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

_READ_BACK = 20_000
"""Messages of the live stream that a new replica reads to know the last predictions."""
_QUEUE = 1000
"""Signals that a slow stream may be behind before it is ended."""
_PARTS = 3
"""Numbers of a vote that the watch reads: down, up, weight."""

Key = tuple[str, str, str]
_Round = tuple[str, int]
"""Timeframe, and close in milliseconds."""


class Said:
    """A batch, read from its bytes when somebody asks for it."""

    __slots__ = ("_batch", "_data")

    def __init__(self, data: bytes, batch: signal_pb2.PredictionBatch | None = None) -> None:
        self._data, self._batch = data, batch

    @property
    def batch(self) -> signal_pb2.PredictionBatch:
        """The message of the contract."""
        if self._batch is None:
            self._batch, self._data = signal_pb2.PredictionBatch.FromString(self._data), b""
        return self._batch


class Last(NamedTuple):
    """The last answer of a series; a tuple, as one is made of every candle."""

    said: Said
    place: int
    """Of the answer in its batch."""
    close_time: tuple[int, int]
    """Market time of the answer: seconds and nanoseconds."""

    @property
    def prediction(self) -> signal_pb2.Prediction:
        """What was answered."""
        return self.said.batch.predictions[self.place]

    @property
    def signal(self) -> signal_pb2.Signal | None:
        """The signal that it made, if any."""
        named = self.prediction.signal_id
        return next((s for s in self.said.batch.signals if s.signal_id == named), None)


class LiveAnswers:
    """What every replica together has said: each one shows the whole."""

    def __init__(self, *, capacity: int, measures: Measures, watch: ModelWatch) -> None:
        self._capacity = capacity
        self._watch = watch
        self._measures = measures
        self._last: OrderedDict[Key, Last] = OrderedDict()
        """By the time of their answer, the one that was answered longest ago first."""
        self._subscribers: set[asyncio.Queue[signal_pb2.Signal | None]] = set()
        self.own = OwnWords()
        """What this replica is about to say."""
        self._started_at = 0
        self._closed = False

    async def start(self, bus: Bus) -> None:
        """Begin to follow the prediction batches."""
        self._started_at = await bus.last_sequence(subjects.LIVE.name)
        first = max(1, self._started_at - _READ_BACK)
        await bus.follow(subjects.LIVE.name, subjects.ALL_PREDICTIONS, self.receive, start=first)

    def receive(self, message: Message) -> None:
        """Take a batch from the bus."""
        own = self.own.heard(message)
        if own is not None and self._take_own(own, Said(message.data), message):
            return
        try:
            batch = signal_pb2.PredictionBatch.FromString(message.data)
        except DecodeError as error:
            self._refuse(f"{message.subject}: {error}")
            return
        kept = Said(b"", batch)
        said: dict[_Round, list[list[float]]] = {}
        for place, prediction in enumerate(batch.predictions):
            time = prediction.candle_close_time
            seconds, nanos, timeframe = time.seconds, time.nanos, prediction.timeframe
            key = (batch.venue, prediction.symbol, timeframe)
            self._keep(key, Last(kept, place, (seconds, nanos)))
            if votes := prediction.votes:
                rows = said.setdefault((timeframe, seconds * 1000 + nanos // 1_000_000), [])
                rows.append([x for v in votes for x in (v.p_down, v.p_up, v.weight)])
        if said:
            self._observe(batch, said)
        self._tell(kept, message)

    def _take_own(self, batch: Batch, said: Said, message: Message) -> bool:
        """Take what this replica said; False when it has to be read as that of another."""
        voted = votes_of(batch)
        if voted is None:
            return False
        seconds, rest = divmod(batch.close_time, 1000)
        closes = seconds, rest * 1_000_000
        for place, answer in enumerate(batch.answers):
            symbol = answer.prediction.candle.symbol
            self._keep((batch.venue, symbol, batch.timeframe), Last(said, place, closes))
        models, numbers = voted
        self._watch.observe(batch.model_version, batch.timeframe, batch.close_time, models, numbers)
        if any(answer.signal is not None for answer in batch.answers):
            self._tell(said, message)
        return True

    def _tell(self, said: Said, message: Message) -> None:
        """Send signals that were made while this replica ran to those who listen."""
        if self._subscribers and message.sequence > self._started_at:
            for made in said.batch.signals:
                self._send(made)

    def _observe(
        self,
        batch: signal_pb2.PredictionBatch,
        said: dict[_Round, list[list[float]]],
    ) -> None:
        """Tell the watch what the models said; those of an artifact come in one order."""
        names = next([v.model for v in p.votes] for p in batch.predictions if p.votes)
        for (timeframe, close), rows in said.items():
            if any(len(row) != len(names) * _PARTS for row in rows):
                self._refuse(f"{batch.model_version}: {len(names)} models do not fit all votes")
                return
            numbers = np.array(rows, dtype=np.float64).reshape(len(rows), len(names), _PARTS)
            self._watch.observe(batch.model_version, timeframe, close, names, numbers)

    def _refuse(self, reason: str) -> None:
        self._measures.errors.labels("bad_prediction").inc()
        log.warning("bad_prediction", reason=reason)

    def _keep(self, key: Key, last: Last) -> None:
        held = self._last.get(key)
        if held is not None and held.close_time > last.close_time:
            return
        self._last[key] = last
        self._last.move_to_end(key)
        if len(self._last) > self._capacity:
            self._last.popitem(last=False)

    def last_of(self, symbol: str) -> Last | None:
        """Return the newest answer about a symbol, of any venue and timeframe."""
        found = [last for key, last in self._last.items() if key[1] == symbol]
        return max(found, key=lambda last: last.close_time, default=None)

    def predictions(self) -> list[signal_pb2.Prediction]:
        """Return the last prediction of every series, ordered by symbol, timeframe, venue."""
        ordered = sorted(self._last, key=lambda key: (key[1], key[2], key[0]))
        return [self._last[key].prediction for key in ordered]

    async def signals(self) -> AsyncIterator[signal_pb2.Signal]:
        """Yield signals as they are made, until the process drains or the reader is too slow."""
        if self._closed:
            return
        queue: asyncio.Queue[signal_pb2.Signal | None] = asyncio.Queue(_QUEUE + 1)
        self._subscribers.add(queue)
        try:
            while (signal := await queue.get()) is not None:
                yield signal
        finally:
            self._subscribers.discard(queue)

    async def close(self) -> None:
        """End all streams: the process drains."""
        self._closed = True
        for queue in list(self._subscribers):
            self._end(queue)

    def _send(self, signal: signal_pb2.Signal) -> None:
        for queue in list(self._subscribers):
            if queue.qsize() >= _QUEUE:
                log.warning("slow_signal_stream_ended", behind=queue.qsize())
                self._end(queue)
            else:
                queue.put_nowait(signal)

    def _end(self, queue: asyncio.Queue[signal_pb2.Signal | None]) -> None:
        # The queue has one place more than signals may take, so the end always fits.
        self._subscribers.discard(queue)
        queue.put_nowait(None)
