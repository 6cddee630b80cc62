"""Questions for missing candles are answered by the leader, and cost no more than they may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from quantum.market.v1 import market_pb2

from services.exec_risk.market.gap_filler import GapFiller
from services.kit.bus.message import Message
from services.kit.observe.metrics import Metrics
from services.trade.candle import Candle
from services.trade.codec import time_to_pb
from tests.support.eventually import eventually

MINUTE = 60_000
NOW = 30_000_000 * MINUTE


def candle(open_time: int, symbol: str = "AUSDT") -> Candle:
    one = Decimal(1)
    return Candle("paper", symbol, "1m", open_time, one, one, one, one, one)


def asked(first: int, last: int, **changes: Any) -> bytes:
    values: dict[str, Any] = {
        "venue": "paper",
        "symbol": "AUSDT",
        "timeframe": "1m",
        "first_open_time": time_to_pb(first),
        "last_open_time": time_to_pb(last),
        "asked_at": time_to_pb(NOW),
        "attempt": 1,
    }
    return market_pb2.CandlesWanted(**(values | changes)).SerializeToString()


class OneSubject:
    """A bus that hands over what the test says."""

    def __init__(self) -> None:
        self.say: Callable[[bytes], None] = lambda _: None

    async def follow(
        self, stream: str, subject: str, handler: Callable[[Message], None], *, start: str
    ) -> None:
        assert start == "new"
        self.say = lambda data: handler(Message(subject, data, {}, 1, 0))


class Desk:
    """An exchange that has every candle until now, and what was published."""

    def __init__(self) -> None:
        self.limits: list[int] = []
        self.fails = 0
        self.filled: list[Candle] = []
        self.opened = asyncio.Event()
        self.opened.set()

    async def history(self, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        self.limits.append(limit)
        await self.opened.wait()
        if self.fails:
            self.fails -= 1
            raise OSError("away")
        return [candle(NOW - n * MINUTE, symbol) for n in range(limit, 0, -1)]

    async def fill(self, candles: Sequence[Candle]) -> None:
        self.filled += candles


async def start(desk: Desk, *, leading: bool = True) -> tuple[OneSubject, Metrics, Any]:
    bus, metrics = OneSubject(), Metrics("test")
    filler = GapFiller(
        exchange=desk,
        sink=desk,
        venue="paper",
        timeframe="1m",
        leading=lambda: leading,
        metrics=metrics,
    )
    await filler.start(bus)  # type: ignore[arg-type]
    return bus, metrics, asyncio.create_task(filler.run())


def count(metrics: Metrics, outcome: str) -> float:
    found = metrics.registry.get_sample_value("test_candle_fills_total", {"outcome": outcome})
    assert found is not None
    return found


async def test_the_candles_of_the_gap_are_published_and_no_others() -> None:
    desk = Desk()
    bus, metrics, task = await start(desk)
    bus.say(asked(NOW - 20 * MINUTE, NOW - 18 * MINUTE))
    await eventually(lambda: count(metrics, "filled") == 1)
    assert [c.open_time for c in desk.filled] == [NOW - n * MINUTE for n in (20, 19, 18)]
    task.cancel()


@settings(max_examples=25)
@given(st.integers(1, 900), st.integers(0, 900))
def test_enough_is_read_and_never_more_than_the_exchange_gives(back: int, length: int) -> None:
    async def once() -> Desk:
        desk = Desk()
        bus, metrics, task = await start(desk)
        last = min(NOW - MINUTE, NOW - (back - length) * MINUTE)
        bus.say(asked(NOW - back * MINUTE, last))
        await eventually(lambda: count(metrics, "filled") == 1)
        task.cancel()
        return desk

    desk = asyncio.run(once())
    assert desk.filled[0].open_time == NOW - back * MINUTE
    assert desk.limits[0] <= 999


async def test_a_standby_says_nothing_and_other_markets_are_not_ours() -> None:
    standby, leader = Desk(), Desk()
    first, _, one = await start(standby, leading=False)
    second, metrics, two = await start(leader)
    first.say(asked(NOW - 2 * MINUTE, NOW - MINUTE))
    second.say(asked(NOW - 2 * MINUTE, NOW - MINUTE, venue="live"))
    second.say(asked(NOW - 2 * MINUTE, NOW - MINUTE, timeframe="15m"))
    second.say(asked(NOW - 2 * MINUTE, NOW - MINUTE))
    await eventually(lambda: count(metrics, "filled") == 1)
    assert standby.limits == []
    assert len(leader.limits) == 1
    one.cancel()
    two.cancel()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe nonsense",
        asked(NOW - MINUTE, NOW - 2 * MINUTE),
        asked(NOW + MINUTE, NOW + 2 * MINUTE),
        asked(NOW - MINUTE, NOW - MINUTE, first_open_time=Timestamp()),
    ],
)
async def test_nonsense_is_passed_over(data: bytes) -> None:
    desk = Desk()
    bus, metrics, task = await start(desk)
    bus.say(data)
    bus.say(asked(NOW - 2 * MINUTE, NOW - MINUTE))
    await eventually(lambda: count(metrics, "filled") == 1)
    assert len(desk.limits) == 1
    task.cancel()


async def test_what_fails_is_dropped_and_the_next_question_is_answered() -> None:
    desk = Desk()
    desk.fails = 1
    bus, metrics, task = await start(desk)
    bus.say(asked(NOW - 2 * MINUTE, NOW - MINUTE))
    await eventually(lambda: count(metrics, "failed") == 1)
    assert desk.filled == []
    bus.say(asked(NOW - 2 * MINUTE, NOW - MINUTE))
    await eventually(lambda: count(metrics, "filled") == 1)
    task.cancel()


async def test_many_questions_wait_in_bounded_room_the_newest_of_a_symbol_counts() -> None:
    desk = Desk()
    desk.opened.clear()
    bus, metrics, task = await start(desk)
    bus.say(asked(NOW - 2 * MINUTE, NOW - MINUTE, symbol="FIRST"))
    await eventually(lambda: desk.limits)
    for _ in range(3):
        for number in range(2_100):
            bus.say(asked(NOW - 2 * MINUTE, NOW - MINUTE, symbol=f"S{number}"))
    assert count(metrics, "dropped") == 300
    desk.opened.set()
    await eventually(lambda: count(metrics, "filled") == 2_001)
    assert len(desk.limits) == 2_001
    task.cancel()
