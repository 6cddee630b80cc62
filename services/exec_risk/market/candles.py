"""Closed candles to the bus: the history once, then each as it closes, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from services.exec_risk.core.exchange_events import PointReached
from services.exec_risk.core.state import Book
from services.exec_risk.seams import CandleSink, Exchange
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.trade.candle import Candle

log = get_logger(__name__)

_RETRY_SECONDS = 0.25
_AT_ONCE = 4


class CandlePublisher:
    """Publishes for as long as a term lasts; a bus that is away is waited for."""

    def __init__(
        self, sink: CandleSink, exchange: Exchange, clock: Clock, history_candles: int
    ) -> None:
        self._sink = sink
        self._exchange = exchange
        self._clock = clock
        self._history_candles = history_candles
        self._waiting: deque[Candle] = deque()
        self._wake = asyncio.Event()
        self._busy = True
        self._joined: list[str] = []

    @property
    def idle(self) -> bool:
        """True when the history and every candle so far are published."""
        return not self._busy and not self._waiting and not self._joined

    def add(self, candle: Candle) -> None:
        """Publish a candle that has just closed."""
        self._waiting.append(candle)
        self._wake.set()

    def join(self, symbols: Iterable[str]) -> None:
        """Publish the history of symbols that begin to trade, before their next candle."""
        self._joined += sorted(symbols)
        self._wake.set()

    async def run(self, book: Book, point: PointReached | None) -> None:
        """Publish history, then what is added, until cancelled."""
        await self._publish_history(sorted(book.filters), book, point)
        while True:
            self._busy = bool(self._waiting or self._joined)
            if self._joined:
                joined, self._joined = self._joined, []
                await self._publish_history(joined, book, None)
                continue
            if not self._waiting:
                await self._wake.wait()
                self._wake.clear()
                continue
            batch = list(self._waiting)
            self._waiting.clear()
            await self._publish(batch, history=False)

    async def _publish_history(
        self, symbols: list[str], book: Book, point: PointReached | None
    ) -> None:
        """Fill what the stream lacks; what closes after this was begun is no history.

        The market goes on while this reads. A candle that were published as history first would
        never be predicted: its live copy has the same message id.
        """
        limit = asyncio.Semaphore(_AT_ONCE)
        last_old: int | None = None
        if point is not None:
            # the candles of an undecided round are asked for anew
            last_old = point.time - 1 if point.time > book.last_round else point.time

        async def one(symbol: str) -> None:
            nonlocal last_old
            async with limit:
                candles = await self._history(symbol, book.policy.timeframe)
            if last_old is None:
                last_old = max((c.close_time for c in candles), default=None)
            old = [c for c in candles if last_old is None or c.close_time <= last_old]
            await self._publish(old, history=True)
            await self._publish(candles[len(old) :] if point else [], history=False)

        await asyncio.gather(*(one(symbol) for symbol in symbols))
        log.info("history_published", symbols=len(symbols))

    async def _history(self, symbol: str, timeframe: str) -> list[Candle]:
        while True:
            try:
                return await self._exchange.history(symbol, timeframe, self._history_candles)
            except Exception as error:  # noqa: BLE001 - unknown, so it is asked again
                log.warning("history_not_read", symbol=symbol, error=str(error))
                await self._clock.sleep(_RETRY_SECONDS)

    async def _publish(self, candles: list[Candle], *, history: bool) -> None:
        while candles:
            try:
                await self._sink.publish(candles, history=history)
                return
            except Exception as error:  # noqa: BLE001 - unknown, so it is asked again
                log.warning("candles_wait", count=len(candles), error=str(error))
                await self._clock.sleep(_RETRY_SECONDS)
