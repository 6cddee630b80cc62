"""What is asked and told of gaps, and what is not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from quantum.market.v1 import market_pb2

from services.ai.core.windows import Windows
from services.ai.gap_requests import GapRequests
from services.ai.measures import Measures
from services.kit.bus.bus import BusUnavailable, Outgoing
from services.kit.observe.metrics import Metrics
from tests.support.eventually import eventually
from tests.unit.ai.candle_samples import candle, manifest

LENGTH = 30
"""Bars of a window."""


class FlakyBus:
    """Refuses the first so many messages, then keeps them."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.sent: list[Outgoing] = []

    async def publish_all(self, messages: Sequence[Outgoing]) -> list[int]:
        if self.away:
            self.away -= 1
            raise BusUnavailable("away")
        self.sent += messages
        return []


class Desk:
    """Candles into windows, and each of them shown to the requests."""

    def __init__(self, *, warm: bool = True) -> None:
        self.windows = Windows()
        self.degraded: dict[str, str] = {}
        self.metrics = Metrics("test")
        self.warm = warm
        self.gaps = GapRequests(
            windows=self.windows,
            manifest=lambda: manifest(window=LENGTH),
            warm=lambda: self.warm,
            measures=Measures(self.metrics),
            degraded=self.degraded,
        )

    def live(self, *numbers: int, symbol: str = "BTCUSDT", timeframe: str = "1m") -> None:
        for number in numbers:
            one = candle(number, symbol, timeframe=timeframe)
            self.windows.insert(one)
            self.gaps.take([one], False)

    def past(self, number: int, symbol: str = "BTCUSDT") -> None:
        one = candle(number, symbol)
        self.windows.insert(one)
        self.gaps.take([one], True)

    async def said(self, bus: FlakyBus, count: int) -> list[Outgoing]:
        task = asyncio.create_task(self.gaps.run(bus))  # type: ignore[arg-type]
        await eventually(lambda: len(bus.sent) == count, deadline=2)
        await asyncio.sleep(0.01)
        task.cancel()
        assert len(bus.sent) == count
        return bus.sent

    def counted(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value(
            "test_candle_gaps_total", {"outcome": outcome}
        )


async def test_replicas_that_saw_the_same_ask_under_one_id() -> None:
    desks = [Desk(), Desk()]
    for desk in desks:
        desk.live(0, 1, 4)
    (one,), (other,) = [await desk.said(FlakyBus(), 1) for desk in desks]
    assert one == other
    wanted = market_pb2.CandlesWanted.FromString(one.data)
    assert wanted.first_open_time.seconds * 1000 == candle(2).open_time
    assert wanted.last_open_time.seconds * 1000 == candle(3).open_time
    assert wanted.asked_at.seconds * 1000 == candle(4).close_time
    assert (wanted.attempt, wanted.symbol) == (1, "BTCUSDT")


async def test_what_the_models_do_not_read_and_what_is_not_read_yet_is_not_asked_for() -> None:
    desk = Desk(warm=False)
    desk.live(0, 1, 4)
    desk.warm = True
    desk.live(13, 58, symbol="ETHUSDT", timeframe="15m")
    desk.past(9, "XRPUSDT")
    desk.live(5)
    assert len(await desk.said(FlakyBus(), 1)) == 1
    assert desk.counted("wanted") == 1


async def test_a_bus_that_is_away_costs_a_question_and_not_the_next() -> None:
    desk = Desk()
    desk.live(0, 1, 4, 5)
    (message,) = await desk.said(FlakyBus(away=1), 1)
    assert market_pb2.CandlesWanted.FromString(message.data).attempt == 2


async def test_candles_that_do_not_come_are_told_of_until_they_do() -> None:
    desk = Desk()
    symbols = [f"S{number}USDT" for number in range(5)]
    for symbol in symbols:
        desk.live(0, 1, 2, *range(4, 19), symbol=symbol)
    assert not desk.degraded, "they are still asked for"
    for symbol in symbols:
        desk.live(19, symbol=symbol)
    said = await desk.said(FlakyBus(), 5 * 6)
    assert [m.headers["ce-type"] for m in said[-5:]] == ["candles.missing"] * 5
    assert market_pb2.CandlesMissing.FromString(said[-1].data).attempts == 5
    (told,) = desk.degraded.values()
    assert told.startswith("candles are missing: S0USDT 1m from 20")
    assert told.endswith("and 2 more")
    for symbol in symbols[:2]:
        desk.past(3, symbol)
    assert desk.counted("repaired") == 2
    (told,) = desk.degraded.values()
    assert "more" not in told
    for symbol in symbols[2:]:
        desk.live(*range(20, 3 + LENGTH + 1), symbol=symbol)
    assert desk.counted("passed") == 3
    assert not desk.degraded
    assert desk.metrics.registry.get_sample_value("test_candle_gaps_open") == 0
    assert len(await desk.said(FlakyBus(), 0)) == 0
