"""A thousand symbols and several timeframes on one replica, and more than it can do at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import psutil
import pytest

from services.catalog import subjects
from services.kit.bus.bus import Bus, Outgoing
from services.trade.candle import Candle
from tests.integration.ai.candle_bus import VENUE, Answers, market, outgoing
from tests.integration.ai.replicas import StartReplica
from tests.support.eventually import eventually

MOULD = "S0000USDT"
WARM = 128
BURST = 8
PART = 100
OTHERS = ("5m", "15m")
TTL_MINUTES = 2


def for_all(candle: Candle, symbols: Sequence[str]) -> list[Outgoing]:
    """Return the messages of the same bar of every symbol: names are of one length."""
    mould = outgoing(replace(candle, symbol=MOULD))
    found = []
    for part, begin in enumerate(range(0, len(symbols), PART)):
        told = symbols[begin : begin + PART]
        # repeated fields behind one another are those of one message
        data = b"".join(mould.data.replace(MOULD.encode(), symbol.encode()) for symbol in told)
        subject = subjects.round_candles(VENUE, candle.timeframe, part)
        found.append(Outgoing(subject, data, f"{mould.message_id}-{part}", mould.headers))
    return found


def past_of_all(series: Sequence[Candle], symbols: Sequence[str]) -> list[Outgoing]:
    """Return the messages of the same past of every symbol."""
    mould = outgoing(*series, history=True)
    return [
        Outgoing(
            subjects.past_candles(VENUE, series[0].timeframe, symbol),
            mould.data.replace(MOULD.encode(), symbol.encode()),
            f"{mould.message_id}-{symbol}",
            mould.headers,
        )
        for symbol in symbols
    ]


def in_other_timeframes(last: Candle) -> list[Candle]:
    """Return bars of the same close and of wild prices: no window may be mixed up with them."""
    bars = []
    for timeframe, minutes in zip(OTHERS, (5, 15), strict=True):
        opened = last.close_time - minutes * 60_000
        opened -= opened % (minutes * 60_000)
        wild = Decimal(9_999)
        bar = replace(last, timeframe=timeframe, open_time=opened, high=wild, close=wild)
        bars.append(bar)
    return bars


@pytest.mark.timeout(240)
@pytest.mark.parametrize("count", [200, pytest.param(1_000, marks=pytest.mark.drill)])
async def test_many_symbols_are_answered_and_a_burst_costs_neither_answers_nor_memory(
    bus: Bus, answers: Answers, start_replica: StartReplica, count: int
) -> None:
    """Incident 61: what comes faster than it can be answered waits in the stream, not in memory."""
    symbols = [f"S{number:04}USDT" for number in range(count)]
    series = market(MOULD, WARM + 2 + BURST)
    await bus.publish_all(past_of_all(series[:WARM], symbols))
    replica = await start_replica(SIGNAL_SHARE="1", SIGNAL_TTL_SECONDS=str(TTL_MINUTES * 60))
    await replica.becomes_ready()

    first, second, burst = series[WARM], series[WARM + 1], series[WARM + 2 :]
    await bus.publish_all(for_all(first, symbols))
    for other in in_other_timeframes(first):
        await bus.publish_all(for_all(other, symbols[::20]))
    await bus.publish_all(for_all(second, symbols))

    def answered(candles: Sequence[Candle]) -> bool:
        return all((s, c.open_time) in answers.by_candle for c in candles for s in symbols)

    await eventually(lambda: answered([first, second]), deadline=60)
    for candle in (first, second):
        said = [
            p
            for symbol in symbols
            for p in answers.by_candle[symbol, candle.open_time]
            if p.timeframe == "1m"
        ]
        # The same bars make the same answer to the last bit, whatever they were asked beside.
        for prediction in said:
            prediction.symbol = prediction.signal_id = ""
        assert len({p.SerializeToString(deterministic=True) for p in said}) == 1
        assert said[0].hold_reason not in ("not_warm", "stale", "invalid_window")
    told = Counter(
        (p.timeframe, p.hold_reason)
        for held in answers.by_candle.values()
        for p in held
        if p.timeframe != "1m"
    )
    assert told == {(timeframe, "other_timeframe"): count // 20 for timeframe in OTHERS}

    process = psutil.Process(replica.process.pid)
    before = process.memory_info().rss
    process.suspend()
    for candle in burst:
        await bus.publish_all(for_all(candle, symbols))
    process.resume()
    await eventually(lambda: answered(burst), deadline=120, interval=0.5)
    assert process.memory_info().rss - before < 64 << 20
    stale: Counter[int] = Counter()
    for number, candle in enumerate(burst):
        for symbol in symbols:
            (prediction,) = answers.by_candle[symbol, candle.open_time]
            stale[number] += prediction.hold_reason == "stale"
    assert stale.total() > 0, "what is too old to be acted on says so"
    fresh = range(BURST - TTL_MINUTES - 1, BURST)
    assert not any(stale[number] for number in fresh)
    assert (await replica.health()).status == "healthy"
