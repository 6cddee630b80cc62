"""The shadow artifact: it answers the same candles after the active one, and nobody acts on it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from quantum.ai.v1 import signal_pb2

from services.ai.batch_wire import batch_to_bytes
from services.ai.core.answers import Answer, Batch, answer, ask, batches
from services.ai.core.windows import Windows
from services.ai.fund_reader import FundReader
from services.ai.inference import LARGEST_RUN, predict
from services.ai.slot import ModelSlot, Place
from services.catalog import subjects
from services.catalog.events import PREDICTION
from services.catalog.processes import AI
from services.kit.bus.bus import Bus, BusRefused, BusUnavailable, Outgoing
from services.kit.observe.logs import get_logger
from services.kit.observe.metrics import Metrics
from services.trade.candle import Candle
from services.trade.ids import digest

log = get_logger(__name__)

_WAITING = 2_000
"""Candles that may wait for the shadow; what comes beyond is dropped and counted."""


class ShadowAnswerer:
    """Answers behind the active artifact, on a thread of its own.

    Of the same priority: a thread that has to wait for the processor while it holds the
    interpreter would hold up the active one.
    """

    def __init__(
        self, *, slot: ModelSlot, fund: FundReader, windows: Windows, metrics: Metrics
    ) -> None:
        self._slot = slot
        self._fund = fund
        self._windows = windows
        self._waiting: deque[Candle] = deque()
        self._more = asyncio.Event()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        self._answered = metrics.counter(
            "shadow_predictions_total", "Candles that the shadow artifact answered."
        )
        self._dropped = metrics.counter(
            "shadow_dropped_total", "Candles that it did not answer, by reason.", ["reason"]
        )
        for reason in ("backpressure", "failed"):
            self._dropped.labels(reason)

    def offer(self, candles: Sequence[Candle]) -> None:
        """Take candles that the active artifact has answered; returns at once."""
        place = self._slot.shadow
        if place is None:
            return
        free = _WAITING - len(self._waiting)
        due = [c for c in candles if self._due(c, place)]
        self._waiting.extend(due[:free])
        if len(due) > free:
            self._dropped.labels("backpressure").inc(len(due) - free)
        if due:
            self._more.set()

    def _due(self, candle: Candle, place: Place) -> bool:
        manifest = place.model.manifest
        active = self._slot.answers(candle.close_time)
        same = active is not None and active.manifest.version == manifest.version
        started = candle.close_time >= place.effective_from
        return started and not same and candle.timeframe == manifest.timeframe

    async def run(self, bus: Bus) -> None:
        """Answer what is offered, for ever."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                some = [
                    self._waiting.popleft() for _ in range(min(LARGEST_RUN, len(self._waiting)))
                ]
                try:
                    await self._answer(bus, some)
                except (BusUnavailable, BusRefused, ValueError) as error:
                    self._dropped.labels("failed").inc(len(some))
                    log.warning("shadow_failed", candles=len(some), error=str(error))

    async def _answer(self, bus: Bus, candles: Sequence[Candle]) -> None:
        place = self._slot.shadow
        if place is None:
            return
        model = place.model
        policies = [self._slot.policy(model.manifest, self._fund, c.close_time) for c in candles]
        # it comes behind, and that it is late says nothing of what it would have said
        rounds = [
            ask([candle], self._windows, model.manifest, policy)
            for candle, policy in zip(candles, policies, strict=True)
        ]
        questions = [q._replace(stale=False) for asked in rounds for q in asked.questions]
        windows = [asked.windows for asked in rounds]
        loop = asyncio.get_running_loop()
        outputs = await loop.run_in_executor(self._executor, predict, model.session, windows)
        answers: list[Answer] = answer(questions, outputs, model.manifest, policies[-1])
        await bus.publish_all([message(batch) for batch in batches(answers, model.manifest)])
        self._answered.inc(len(answers))

    async def close(self) -> None:
        """Wait for the run in hand and end the thread."""
        await asyncio.to_thread(self._executor.shutdown, wait=True)


def message(batch: Batch) -> Outgoing:
    """Return the message of a shadow batch: marked, without signals, where no trader reads."""
    told = signal_pb2.PredictionBatch.FromString(batch_to_bytes(batch))
    told.shadow = True
    del told.signals[:]
    for prediction in told.predictions:
        prediction.signal_id = ""
    return Outgoing(
        subjects.shadow_prediction(batch.venue, batch.timeframe),
        told.SerializeToString(deterministic=True),
        f"shd-{digest('shadow', batch.message_id, length=28)}",
        {
            subjects.HEADER_TYPE: PREDICTION,
            subjects.HEADER_SOURCE: AI.name,
            subjects.HEADER_TIME: str(batch.close_time),
        },
    )
