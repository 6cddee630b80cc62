"""Candles that a reader of the market lacks, published again from the exchange's history.

Whoever leads publishes the market, so it answers. A question that cannot be answered now is
dropped: the reader asks again, a few times.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.message import DecodeError
from quantum.market.v1 import market_pb2

from services.catalog import subjects
from services.kit.bus.bus import Bus, Message
from services.kit.observe.logs import get_logger
from services.kit.observe.metrics import Metrics
from services.trade.candle import Candle
from services.trade.codec import CodecError, time_from_pb
from services.trade.times import timeframe_ms

log = get_logger(__name__)

_MOST = 999
"""Candles that the exchange gives at once."""
_MARGIN = 32
"""Bars by which the market may have gone on since the question."""
_WAITING = 2_000
"""Series whose questions may wait; more are dropped and asked again by the reader."""
_OUTCOMES = ("filled", "unknown", "failed", "dropped")


class History(Protocol):
    """Where past candles are read."""

    async def history(self, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        """Read the last closed candles, oldest first."""
        ...


class Filling(Protocol):
    """Where past candles are published again."""

    async def fill(self, candles: Sequence[Candle]) -> None:
        """Publish candles as history, those too that are older than the newest published one."""
        ...


@dataclass(frozen=True, slots=True)
class _Wanted:
    symbol: str
    first: int
    last: int
    limit: int
    """Candles to read so that the first one is among them."""


class GapFiller:
    """Answers questions for candles of one venue and timeframe, one after the other."""

    def __init__(
        self,
        *,
        exchange: History,
        sink: Filling,
        venue: str,
        timeframe: str,
        leading: Callable[[], bool],
        metrics: Metrics,
    ) -> None:
        self._exchange = exchange
        self._sink = sink
        self._venue = venue
        self._timeframe = timeframe
        self._leading = leading
        self._waiting: dict[str, _Wanted] = {}
        self._wake = asyncio.Event()
        self._answers = metrics.counter(
            "candle_fills_total", "Questions for missing candles, by outcome.", ["outcome"]
        )
        for outcome in _OUTCOMES:
            self._answers.labels(outcome)

    async def start(self, bus: Bus) -> None:
        """Hear the questions from now on; older ones are asked again by who still needs them."""
        await bus.follow(subjects.LIVE.name, subjects.ALL_CANDLES_WANTED, self._hear, start="new")

    async def run(self) -> None:
        """Answer, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                symbol = next(iter(self._waiting))
                await self._answer(self._waiting.pop(symbol))

    def _hear(self, message: Message) -> None:
        try:
            wanted = self._read(message.data)
        except (DecodeError, CodecError, ValueError) as error:
            log.error("candles_wanted_unreadable", subject=message.subject, error=str(error))
            return
        if wanted is None or not self._leading():
            return
        if wanted.symbol not in self._waiting and len(self._waiting) >= _WAITING:
            self._answers.labels("dropped").inc()
            return
        self._waiting[wanted.symbol] = wanted
        self._wake.set()

    def _read(self, data: bytes) -> _Wanted | None:
        """Read a question; None for one that is for somebody else."""
        told = market_pb2.CandlesWanted.FromString(data)
        if (told.venue, told.timeframe) != (self._venue, self._timeframe):
            return None
        first, last = time_from_pb(told.first_open_time), time_from_pb(told.last_open_time)
        bars = (time_from_pb(told.asked_at) - first) // timeframe_ms(self._timeframe)
        if not first <= last or bars < 1:
            raise CodecError(f"{told.symbol}: {first}..{last} are no past candles")
        return _Wanted(told.symbol, first, last, min(_MOST, bars + _MARGIN))

    async def _answer(self, wanted: _Wanted) -> None:
        try:
            candles = await self._exchange.history(wanted.symbol, self._timeframe, wanted.limit)
            found = [c for c in candles if wanted.first <= c.open_time <= wanted.last]
            await self._sink.fill(found)
        except Exception as error:  # noqa: BLE001 - whatever it is: the reader asks again
            self._answers.labels("failed").inc()
            log.warning("candles_not_filled", symbol=wanted.symbol, error=str(error))
            return
        self._answers.labels("filled" if found else "unknown").inc()
        log.info("candles_filled", symbol=wanted.symbol, count=len(found), first=wanted.first)
