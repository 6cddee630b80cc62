"""What a replica hears it reads in time: before it answers, and whatever came before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from services.ai.candle_reader import CandleReader
from services.ai.core.windows import Windows
from services.ai.measures import Measures
from services.kit.bus.bus import Bus
from services.kit.observe.metrics import Metrics
from services.trade.candle import Candle
from tests.integration.ai.candle_bus import market, outgoing
from tests.support.eventually import eventually

BARS = 40
FIRST, SECOND = market("AAAUSDT", BARS), market("BBBUSDT", BARS)


class Kept:
    """A reader with all that it told; it breaks at one bar when asked to."""

    def __init__(self, breaks_at: Candle | None = None) -> None:
        self.candles: list[Candle] = []
        self.past: list[bool] = []
        self.breaks_at = breaks_at
        self.metrics = Metrics("test")
        self.reader = CandleReader(
            windows=Windows(),
            measures=Measures(self.metrics),
            progress={},
            on_kept=self.keep,
            on_live=lambda _: None,
        )

    def keep(self, candles: Sequence[Candle], history: bool) -> None:
        if self.breaks_at in candles:
            raise RuntimeError("broken")
        self.candles += candles
        self.past += [history] * len(candles)


async def test_all_that_is_stored_is_read_before_it_is_warm_and_in_order(bus: Bus) -> None:
    half = BARS // 2
    await bus.publish_all([outgoing(*one[:half], history=True) for one in (FIRST, SECOND)])
    rounds = list(zip(FIRST[half:], SECOND[half:], strict=True))
    await bus.publish_all([outgoing(*one) for one in rounds])
    kept = Kept()
    await kept.reader.start(bus)
    assert kept.reader.warm
    assert kept.candles == [*FIRST[:half], *SECOND[:half], *(c for one in rounds for c in one)]
    assert kept.past == [True] * 2 * half + [False] * 2 * half


async def test_what_is_to_be_answered_is_read_at_once_and_nothing_after_it(bus: Bus) -> None:
    kept = Kept()
    await kept.reader.start(bus)
    sequences = await bus.publish_all([outgoing(one) for one in FIRST])
    assert not await kept.reader.reach(sequences[-1] + 1, 0.2)
    kept.candles.clear()
    more = await bus.publish_all([outgoing(one) for one in SECOND])
    await eventually(lambda: kept.reader.has(more[-1]))
    assert await kept.reader.reach(more[9], 1)
    assert kept.candles == SECOND[:10]


async def test_one_message_that_breaks_the_reading_takes_no_other_with_it(bus: Bus) -> None:
    kept = Kept(breaks_at=FIRST[3])
    await kept.reader.start(bus)
    reading = asyncio.create_task(kept.reader.run())
    await bus.publish_all([outgoing(one) for one in FIRST])
    await eventually(lambda: len(kept.candles) == BARS - 1)
    reading.cancel()
    assert kept.candles == [one for one in FIRST if one is not FIRST[3]]
    counted = kept.metrics.registry.get_sample_value("test_errors_total", {"kind": "bad_candle"})
    assert counted == 1
