"""What the sockets did not tell is asked for, once, and told in its place."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from services.exec_risk.core.exchange_events import (
    CandleClosed,
    FundingReport,
    PointReached,
    StreamStateChanged,
)
from services.exec_risk.exchange.recovery import Recovery
from services.exec_risk.exchange.requests import ExchangeUnavailable
from services.exec_risk.exchange.steps import Missing
from services.exec_risk.exchange.stream_parse import FundingSettled
from services.trade.candle import Candle


class PatientClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.slept = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.slept

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds


def paid(transaction: str, time: int = 28_800_000) -> FundingReport:
    return FundingReport("BTCUSDT", Decimal("-0.5"), time, transaction)


def recovery(
    answers: list[list[FundingReport] | Exception], candles: Sequence[Candle] = ()
) -> Recovery:
    async def funding(_since: int) -> Sequence[FundingReport]:
        told = answers.pop(0)
        if isinstance(told, Exception):
            raise told
        return told

    async def history(_symbol: str) -> Sequence[Candle]:
        return candles

    return Recovery(funding=funding, candles=history, clock=PatientClock())


async def test_funding_that_lags_is_asked_again() -> None:
    asked = recovery([[], ExchangeUnavailable("x"), [paid("1")]])
    assert await asked.funding(FundingSettled(28_800_000)) == [paid("1")]


async def test_one_reading_serves_all_events_of_a_settlement() -> None:
    asked = recovery([[paid("1"), paid("2")], [paid("1"), paid("2")]])
    assert len(await asked.funding(FundingSettled(28_800_000))) == 2
    assert await asked.funding(FundingSettled(28_800_000)) == []


async def test_funding_that_never_comes_calls_for_reconciliation() -> None:
    asked = recovery([[] for _ in range(5)])
    (event,) = await asked.funding(FundingSettled(28_800_000))
    assert isinstance(event, StreamStateChanged)


async def test_missing_candle_is_read_before_its_point() -> None:
    one = Decimal(1)
    candle = Candle("paper", "AUSDT", "1m", 0, one, one, one, one, one)
    point = PointReached(4, 60_000, ("AUSDT", "BUSDT"))
    asked = recovery([], [candle])
    events = await asked.step(Missing(point, user_events=True, candles=("AUSDT",)))
    assert isinstance(events[0], StreamStateChanged)
    assert events[1:] == [CandleClosed(candle), point]
    late = PointReached(8, 120_000, ("AUSDT",))
    events = await asked.step(Missing(late, user_events=False, candles=("AUSDT",)))
    assert isinstance(events[0], StreamStateChanged)
    assert events[1] == late
