"""What came of every prediction: candles as they come, and each recorded batch judged once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from google.protobuf.message import DecodeError
from quantum.market.v1 import market_pb2

from services.analytics.core.learning.candle_book import CandleBook, Chunk, SeriesKey
from services.analytics.core.learning.samples import (
    ENSEMBLE,
    WINDOW,
    Answer,
    Stage,
    due_before,
    judge,
)
from services.analytics.learning.codec import answers_of
from services.analytics.learning.progress import Progress
from services.analytics.learning.settings import LearningSettings
from services.analytics.learning.store import LearningStore
from services.analytics.metrics import LearningMetrics
from services.catalog.subjects import has_candles
from services.kit.bus.bus import Message
from services.kit.observe.logs import get_logger
from services.trade.barrier_label import LabelRule
from services.trade.times import DAY_MS, timeframe_ms

log = get_logger(__name__)

KEEP = 512
"""Candles of each symbol in memory: as many as the stream gives back after a restart."""
_BATCHES = 40
"""Prediction batches judged at once: other work of the process goes on in between."""


class Outcomes:
    """Follows the market while this replica learns."""

    def __init__(
        self,
        *,
        store: LearningStore,
        settings: LearningSettings,
        metrics: LearningMetrics,
        rule: LabelRule,
    ) -> None:
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._rule = rule
        self._book = CandleBook(KEEP)
        self._chunks: list[Chunk] = []
        self._noted = 0
        self._purged = 0

    def begin(self) -> None:
        """Forget candles: the stream is about to give them all again."""
        self._book, self._chunks = CandleBook(KEEP), []

    def candles(self, message: Message) -> None:
        """Take in closed candles; what else the stream holds is none of it."""
        if not has_candles(message.subject):
            return
        try:
            batch = market_pb2.CandleBatch.FromString(message.data)
        except DecodeError:
            log.error("candle_unreadable", subject=message.subject, at=message.sequence)
            return
        for candle in batch.candles:
            self._add(candle)

    def _add(self, candle: market_pb2.Candle) -> None:
        row = (candle.open, candle.high, candle.low, candle.close, candle.volume)
        key = SeriesKey(candle.venue, candle.symbol, candle.timeframe)
        numbers = tuple(float(text) for text in row)
        self._book.add(key, candle.open_time.ToMilliseconds(), numbers)  # type: ignore[arg-type]

    async def keep_candles(self, now: int) -> None:
        """Store whole chunks, and once a market day forget what is old."""
        self._chunks += self._book.take_chunks()
        if self._chunks:
            await self._store.keep_candles(self._chunks)
            self._chunks = []
        if now // DAY_MS != self._purged and now and self._book.newest:
            await self._store.purge(
                now,
                judged=now - 2 * self._reach,
                sample_days=self._settings.clm_sample_days,
                candle_days=self._settings.clm_training_days,
            )
            self._purged = now // DAY_MS

    async def judge(self, progress: Progress) -> Progress:
        """Judge what is due, a piece at a time; the ledger may get an older batch later."""
        if not self._book.newest:
            return progress
        due = min(due_before(t, self._rule, f) for f, t in self._book.newest.items())
        while True:
            batch = await self._store.predictions(due - self._reach, due, _BATCHES)
            answers = [answer for payload in batch.payloads for answer in answers_of(payload)]
            self._note(answers, progress)
            judged = judge(answers, self._book, self._rule)
            whole = len(batch.events) < _BATCHES
            until = due if whole else batch.events[-1][1]
            after = replace(
                progress,
                judged_until=max(until, progress.judged_until),
                samples=progress.samples + sum(s.model == ENSEMBLE for s in judged.samples),
                unknown=progress.unknown + judged.unknown,
            )
            if batch.events:
                await self._store.record(batch, judged, after)
                self._metrics.judged.inc(len(judged.samples))
            if batch.events or progress.active_version:
                progress = after
            if whole:
                return progress

    @property
    def _reach(self) -> int:
        """How far back an outcome can still be seen in the candles that are kept."""
        longest = max(timeframe_ms(timeframe) for timeframe in self._book.newest)
        return (KEEP - WINDOW - self._rule.horizon) * longest

    def _note(self, answers: Sequence[Answer], progress: Progress) -> None:
        """Remember which artifact makes the signals."""
        active = [a for a in answers if a.stage is Stage.ACTIVE]
        newest = max(active, key=lambda a: a.candle_open, default=None)
        if newest is None or newest.candle_open < self._noted:
            return
        self._noted = newest.candle_open
        if newest.model_version != progress.active_version:
            # Another artifact: what was found of the one before says nothing of it.
            progress.active_version = newest.model_version
            progress.runs, progress.drifting, progress.indexes = {}, [], {}
            progress.window_end = 0
