"""A gap in a live stream is asked for and filled from the exchange's history, or told of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest
from quantum.market.v1 import market_pb2

from services.catalog import subjects
from services.exec_risk.market.bus_candles import BusCandles
from services.exec_risk.market.gap_filler import GapFiller
from services.kit.bus.bus import Bus, Message
from services.kit.observe.metrics import Metrics
from services.trade.candle import Candle
from tests.integration.ai.candle_bus import VENUE, Answers, market, outgoing, publish_history
from tests.integration.ai.replicas import StartReplica
from tests.support.eventually import eventually

WARM = 140
LOST = range(WARM + 2, WARM + 5)
"""Candles that the publisher never heard of."""


class Exchange:
    """An exchange that knows the past of some symbols."""

    def __init__(self) -> None:
        self.known: dict[str, Sequence[Candle]] = {}
        self.asked: list[tuple[str, int]] = []

    async def history(self, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        self.asked.append((symbol, limit))
        return list(self.known.get(symbol, ()))[-limit:]


@pytest.fixture
async def exchange(bus: Bus) -> AsyncIterator[Exchange]:
    """The publisher's answers, made by what exec_risk runs."""
    found = Exchange()
    filler = GapFiller(
        exchange=found,
        sink=BusCandles(bus),
        venue=VENUE,
        timeframe="1m",
        leading=lambda: True,
        metrics=Metrics("test"),
    )
    await filler.start(bus)
    running = asyncio.create_task(filler.run())
    yield found
    running.cancel()


@pytest.fixture
async def told(bus: Bus) -> list[Message]:
    """What ai asks and tells of gaps."""
    found: list[Message] = []
    await bus.follow(subjects.LIVE.name, "quantum.live.candles.>", found.append)
    return found


def types(told: Sequence[Message]) -> list[str]:
    return [message.type for message in told]


async def reason(bus: Bus, answers: Answers, candle: Candle) -> str:
    await bus.publish_all([outgoing(candle)])
    await eventually(partial(answers.has_all, [candle]))
    return answers.by_candle[candle.symbol, candle.open_time][0].hold_reason


async def test_a_gap_in_a_live_stream_is_filled_from_the_exchanges_history(
    bus: Bus,
    answers: Answers,
    exchange: Exchange,
    told: list[Message],
    start_replica: StartReplica,
) -> None:
    """Two replicas ask once; what was filled makes no prediction, what comes after it does."""
    series = market("LLLUSDT", WARM + 10)
    await publish_history(bus, series[:WARM])
    for _ in range(2):
        await (await start_replica(SIGNAL_SHARE="1", SIGNAL_TTL_SECONDS="86400")).becomes_ready()
    exchange.known["LLLUSDT"] = series[: LOST.stop + 1]
    for candle in series[WARM : LOST.start]:
        assert await reason(bus, answers, candle) != "not_warm"
    assert not told
    # not warm, or already so when the gap is filled before it is its turn
    assert await reason(bus, answers, series[LOST.stop]) in ("not_warm", "")

    async def filled() -> bool:
        newest = await bus.last(subjects.MARKET.name, subjects.past_candles(VENUE, "1m", "LLLUSDT"))
        return newest is not None and newest.market_time == series[LOST.stop - 1].close_time

    await eventually(filled)
    for candle in series[LOST.stop + 1 :]:
        assert await reason(bus, answers, candle) != "not_warm"
    lost = {(series[n].symbol, series[n].open_time) for n in LOST}
    assert not lost & set(answers.by_candle)
    assert types(told) == ["candles.wanted"]
    wanted = market_pb2.CandlesWanted.FromString(told[0].data)
    assert wanted.first_open_time.seconds * 1000 == series[LOST.start].open_time
    assert wanted.last_open_time.seconds * 1000 == series[LOST.stop - 1].open_time
    assert [symbol for symbol, _ in exchange.asked] == ["LLLUSDT"]


async def test_a_gap_that_nobody_can_fill_holds_and_is_told_of(
    bus: Bus,
    answers: Answers,
    exchange: Exchange,
    told: list[Message],
    start_replica: StartReplica,
) -> None:
    """Asked for a bounded number of times; nothing is ever put in the place of what is missing."""
    series = market("MMMUSDT", WARM + 150)
    await publish_history(bus, series[:WARM])
    replica = await start_replica(SIGNAL_SHARE="1", SIGNAL_TTL_SECONDS="86400")
    await replica.becomes_ready()
    after = series[LOST.stop : LOST.stop + 20]
    for candle in after:
        assert await reason(bus, answers, candle) == "not_warm"
    await eventually(lambda: "candles.missing" in types(told))
    assert types(told) == ["candles.wanted"] * 5 + ["candles.missing"]
    assert len(exchange.asked) == 5
    health = await replica.health()
    assert health.status == "degraded"
    assert "MMMUSDT" in " ".join(health.reasons)
    rest = series[LOST.stop + 20 :]
    await bus.publish_all([outgoing(candle) for candle in rest])
    await eventually(partial(answers.has_all, rest), deadline=30)
    reasons = [answers.by_candle[c.symbol, c.open_time][0].hold_reason for c in rest]
    whole = LOST.stop + 127 - (LOST.stop + 20)
    assert set(reasons[:whole]) == {"not_warm"}
    assert "not_warm" not in reasons[whole:]
    await replica.becomes_ready()
    assert types(told) == ["candles.wanted"] * 5 + ["candles.missing"]
