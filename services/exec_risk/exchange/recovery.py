"""Asks the exchange for what its sockets did not tell, in the place where it belongs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from services.exec_risk.core.exchange_events import (
    CandleClosed,
    ExchangeEvent,
    FundingReport,
    StreamStateChanged,
)
from services.exec_risk.exchange.requests import ExchangeRefused, ExchangeUnavailable
from services.exec_risk.exchange.steps import Missing
from services.exec_risk.exchange.stream_parse import FundingSettled
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.trade.candle import Candle

log = get_logger(__name__)

ATTEMPTS = 5
MARGIN_MS = 1_000


class Recovery:
    """Turns what is missing into events; where that fails, into a call for reconciliation."""

    def __init__(
        self,
        *,
        funding: Callable[[int], Awaitable[Sequence[FundingReport]]],
        candles: Callable[[str], Awaitable[Sequence[Candle]]],
        clock: Clock,
    ) -> None:
        self._read_funding = funding
        self._read_candles = candles
        self._clock = clock
        self._told: dict[str, int] = {}

    async def funding(self, settled: FundingSettled) -> list[ExchangeEvent]:
        """Return the entries of a settlement that were not told yet."""
        # one reading can serve several events of one settlement
        served = settled.time in self._told.values()
        for attempt in range(1 if served else ATTEMPTS):
            try:
                reports = await self._read_funding(settled.time - MARGIN_MS)
            except (ExchangeRefused, ExchangeUnavailable, ValueError) as error:
                log.warning("funding_unread", attempt=attempt, error=str(error))
            else:
                news = [r for r in reports if r.transaction_id not in self._told]
                # income may lag behind the event, so an answer without news is asked again
                if news or served:
                    self._told |= {r.transaction_id: r.time for r in news}
                    return list(news)
            await self._clock.sleep(0.2 * 2**attempt)
        return [StreamStateChanged("user", True, "settled funding could not be read")]

    async def step(self, missing: Missing) -> list[ExchangeEvent]:
        """Return what a step lacked, then its point."""
        events: list[ExchangeEvent] = []
        number = missing.point.number
        if missing.user_events:
            events.append(StreamStateChanged("user", True, f"step {number} lacks user events"))
        for symbol in missing.candles:
            candle = await self._closed_at(symbol, missing.point.time)
            if candle is None:
                reason = f"step {number} lacks the candle of {symbol}"
                events.append(StreamStateChanged("market", True, reason))
            else:
                events.append(CandleClosed(candle))
        return [*events, missing.point]

    async def _closed_at(self, symbol: str, time: int) -> Candle | None:
        try:
            candles = await self._read_candles(symbol)
        except (ExchangeRefused, ExchangeUnavailable, ValueError) as error:
            log.warning("candle_unread", symbol=symbol, error=str(error))
            return None
        return next((c for c in candles if c.close_time == time), None)
