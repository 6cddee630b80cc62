"""A thousand symbols and several timeframes on one replica, and more than it can do at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import psutil
import pytest

from services.catalog import subjects
from services.kit.bus import Bus, Outgoing
from services.trade.candle import Candle
from tests.integration.ai.candle_bus import VENUE, Answers, market, outgoing
from tests.integration.ai.replicas import StartReplica
from tests.support.eventually import eventually

COUNT = 1_000
SYMBOLS = tuple(f"S{number:04}USDT" for number in range(COUNT))
WARM = 130
BURST = 6
OTHERS = ("5m", "15m")
TTL_MINUTES = 2


def for_all(candle: Candle, symbols: Sequence[str] = SYMBOLS, *, history: bool) -> list[Outgoing]:
    """Return the messages of the same bar of every symbol: names are of one length."""
    mould = outgoing(replace(candle, symbol=SYMBOLS[0]), history=history)
    name = SYMBOLS[0].encode()
    return [
        Outgoing(
            subjects.candle(VENUE, candle.timeframe, symbol),
            mould.data.replace(name, symbol.encode()),
            mould.message_id.replace(SYMBOLS[0], symbol),
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


@pytest.mark.timeout(180)
async def test_a_thousand_symbols_are_answered_and_a_burst_costs_neither_answers_nor_memory(
    bus: Bus, answers: Answers, start_replica: StartReplica
) -> None:
    """Incident 61: what comes faster than it can be answered waits in the stream, not in memory."""
    series = market(SYMBOLS[0], WARM + 2 + BURST)
    for candle in series[:WARM]:
        await bus.publish_all(for_all(candle, history=True))
    replica = await start_replica(SIGNAL_SHARE="1", SIGNAL_TTL_SECONDS=str(TTL_MINUTES * 60))
    await replica.becomes_ready()

    first, second, burst = series[WARM], series[WARM + 1], series[WARM + 2 :]
    others = in_other_timeframes(first)
    await bus.publish_all(for_all(first, history=False))
    for other in others:
        await bus.publish_all(for_all(other, SYMBOLS[::20], history=False))
    await bus.publish_all(for_all(second, history=False))

    def answered(candles: Sequence[Candle]) -> bool:
        return all((s, c.open_time) in answers.by_candle for c in candles for s in SYMBOLS)

    await eventually(lambda: answered([first, second]), deadline=60)
    for candle in (first, second):
        said = [
            p
            for symbol in SYMBOLS
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
    assert told == {(timeframe, "other_timeframe"): COUNT // 20 for timeframe in OTHERS}

    process = psutil.Process(replica.process.pid)
    before = process.memory_info().rss
    process.suspend()
    for candle in burst:
        await bus.publish_all(for_all(candle, history=False))
    process.resume()
    await eventually(lambda: answered(burst), deadline=120, interval=0.5)
    assert process.memory_info().rss - before < 64 << 20
    stale: Counter[int] = Counter()
    for number, candle in enumerate(burst):
        for symbol in SYMBOLS:
            (prediction,) = answers.by_candle[symbol, candle.open_time]
            stale[number] += prediction.hold_reason == "stale"
    assert stale[0] > 0, "what is too old to be acted on says so"
    fresh = range(BURST - TTL_MINUTES - 1, BURST)
    assert not any(stale[number] for number in fresh)
    assert (await replica.health()).status == "healthy"
