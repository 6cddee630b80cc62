"""A symbol that starts to trade later: its history first, then candles and trades, no restart."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from services.exec_risk.core.inputs import Prediction, PredictionsArrived
from services.exec_risk.core.policy import Gates, Policy
from services.exec_risk.exchange.binance import BinanceExchange
from services.exec_risk.exchange.settings import ExchangeSettings
from services.exec_risk.term.leader import Leader
from services.exec_risk.term.term import Term, TermLimits
from services.kit.clock import SystemClock
from services.trade.candle import Candle
from services.trade.order import OrderPurpose, Side
from services.venue.app import start_venue
from services.venue.settings import VenueSettings
from tests.support.eventually import eventually
from tests.unit.exec_risk.account_desk import signal_of
from tests.unit.exec_risk.memory_truth import MemoryStore, MemoryTruth
from tests.unit.exec_risk.simulated_world import SoleLease

QUARTER = 900_000
FIRST = 1_746_316_800_000
EARLY, LATE = "BTCUSDT", "ADAUSDT"
LATE_BY = 97
"""Candles by which the late symbol's record begins later: just more than a day."""
WARM = 500


def write(folder: Path, symbol: str, first: int, count: int) -> None:
    """Record a quiet walk of 15m candles."""
    dice = random.Random(symbol)  # noqa: S311 - a seeded market
    price, lines = 100_00, ["symbol,timeframe,open_time_ms,open,high,low,close,volume"]
    for number in range(count):
        close = price + dice.randint(-9, 9)
        cents = (price, max(price, close) + 3, min(price, close) - 3, close)
        prices = ",".join(f"{c / 100:.2f}" for c in cents)
        lines.append(f"{symbol},15m,{first + number * QUARTER},{prices},50.125")
        price = close
    with gzip.open(folder / f"{symbol}_15m.csv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")


class Listener:
    """The candle sink: notes what is published, and answers candles at once with a BUY of LATE."""

    def __init__(self) -> None:
        self.leader: Leader | None = None
        self.told: list[tuple[Candle, bool]] = []

    async def publish(self, candles: Sequence[Candle], *, history: bool) -> None:
        """Take candles as the bus would."""
        self.told += [(candle, history) for candle in candles]
        if history or self.leader is None:
            return
        for candle in candles:
            time = candle.close_time
            signal = signal_of(LATE, Side.BUY, time) if candle.symbol == LATE else None
            answer = Prediction(candle.symbol, "15m", time, signal)
            self.leader.put(PredictionsArrived((answer,)))

    def of(self, symbol: str, *, history: bool) -> list[int]:
        """Return close times in the order of publishing."""
        return [c.close_time for c, h in self.told if c.symbol == symbol and h is history]


async def test_a_late_symbol_is_followed_and_traded_without_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "market"
    folder.mkdir()
    write(folder, EARLY, FIRST, WARM + LATE_BY + 10)
    write(folder, LATE, FIRST + LATE_BY * QUARTER, WARM + 10)
    clock, truth, sink = SystemClock(), MemoryTruth(), Listener()
    dice = random.Random(1)  # noqa: S311 - no faults are drawn
    settings = VenueSettings(_env_file=None, venue_market=str(folder), venue_speed=0)
    async with start_venue(settings) as venue:
        exchange = BinanceExchange(
            ExchangeSettings(
                venue="paper",
                timeframe="15m",
                url=venue.url,
                api_key="paper-key",
                api_secret="paper-secret",
            ),
            clock,
        )
        await exchange.start()
        assert exchange.symbols == (EARLY,)

        def new_term() -> Term:
            return Term(
                policy=Policy(timeframe="15m", max_price_age_ms=2 * QUARTER),
                exchange=exchange,
                store=MemoryStore(truth, dice, faults=0.0),
                candles=sink,
                clock=clock,
                limits=TermLimits(observed_wait=0.0),
                gates=Gates,
                on_effects=lambda _: None,
            )

        leader = sink.leader = Leader(exchange=exchange, lease=SoleLease(), new_term=new_term)
        tasks = [asyncio.create_task(leader.listen()), asyncio.create_task(leader.run())]
        await eventually(lambda: venue.exchange.ended and exchange._streams.items.empty(), 60)
        await eventually(lambda: sink.of(LATE, history=False)[-1:] == [venue.exchange.time], 10)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await exchange.close()
    joined = FIRST + (LATE_BY + WARM) * QUARTER
    history, live = sink.of(LATE, history=True), sink.of(LATE, history=False)
    assert history == [joined - (WARM - 2 - n) * QUARTER for n in range(WARM)]
    assert live == [joined + QUARTER * n for n in range(2, 11)]
    first_live = next(i for i, (c, h) in enumerate(sink.told) if c.symbol == LATE and not h)
    last_history = max(i for i, (c, h) in enumerate(sink.told) if c.symbol == LATE and h)
    assert last_history < first_live
    entries = [o for o in truth.orders.values() if o.purpose is OrderPurpose.ENTRY]
    assert {o.symbol for o in entries} == {LATE}
    assert all(o.quantity > Decimal(0) for o in entries)
    assert [a.alert_type for a in truth.alerts if a.alert_type == "PREDICTIONS_MISSING"] == []
