"""History and live candles: a candle that closes while history is read is never history."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from services.exec_risk.core.exchange_events import PointReached
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.state import Book
from services.exec_risk.market.candles import CandlePublisher
from services.kit.clock import SystemClock
from services.trade.candle import Candle

MINUTE = 60_000
START = 100 * MINUTE
SYMBOLS = ("AUSDT", "BUSDT")


def candle(symbol: str, close_time: int) -> Candle:
    one = Decimal(1)
    return Candle("paper", symbol, "1m", close_time - MINUTE, one, one, one, one, one)


class MovingMarket:
    """The second symbol's history is read one candle later than the first's."""

    def __init__(self) -> None:
        self.reads = 0

    async def history(self, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        last = START + MINUTE * self.reads
        self.reads += 1
        return [candle(symbol, last - MINUTE * back) for back in (2, 1, 0)]


class Published:
    def __init__(self) -> None:
        self.first: dict[str, bool] = {}
        """Key to whether its first copy, the one that the stream keeps, was history."""

    async def publish(self, candles: Sequence[Candle], *, history: bool) -> None:
        for each in candles:
            self.first.setdefault(each.key, history)


@pytest.mark.parametrize("point", [None, PointReached(0, START)])
async def test_what_closes_during_the_reading_stays_live(point: PointReached | None) -> None:
    """A live candle behind its own history copy would never be predicted: its round waits."""
    sink = Published()
    market: Any = MovingMarket()
    publisher = CandlePublisher(sink, market, SystemClock(), 500)
    book = Book(Policy(), last_round=START)
    filters: Any = dict.fromkeys(SYMBOLS)
    book.filters = filters
    task = asyncio.create_task(publisher.run(book, point))
    fresh = [candle(symbol, START + MINUTE) for symbol in SYMBOLS]
    for each in fresh:
        publisher.add(each)
    async with asyncio.timeout(5):
        while not publisher.idle:
            await asyncio.sleep(0.01)
    task.cancel()
    assert [sink.first[each.key] for each in fresh] == [False, False]
    assert sink.first[candle("BUSDT", START).key] is True
