"""The market's clockwork: when the venue moves from one step to the next."""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.trade.times import MINUTE_MS, timeframe_ms
from services.venue.core.steps import POINTS
from services.venue.exchange import Advance, PaperExchange
from services.venue.markets.feed import Moment

log = get_logger(__name__)

Pace = Literal["lockstep", "free"]


class Source(Protocol):
    """Where the next step comes from."""

    def at(self, number: int) -> Moment | None:
        """Return a step; None when the market has ended before it."""
        ...

    async def ready(self, number: int) -> None:
        """Return when a step can be had."""
        ...

    def ends_with(self, number: int) -> bool:
        """Tell whether this step is the last one."""
        ...


class Audience(Protocol):
    """Who must be told of a step, and whether somebody is there."""

    async def tell(self, advance: Advance, *, ended: bool) -> None:
        """Send a step's events, then the step itself."""
        ...

    async def present(self) -> None:
        """Return when a client of the clock and a user stream are connected."""
        ...


class Clockwork:
    """Steps the market on: after the client's answer (lockstep) or by the wall clock (free)."""

    def __init__(
        self,
        *,
        exchange: PaperExchange,
        source: Source,
        clock: Clock,
        pace: Pace,
        speed: float,
    ) -> None:
        self._exchange = exchange
        self._source = source
        self._clock = clock
        self.pace: Pace = pace
        self.speed = speed
        minutes = timeframe_ms(exchange.market.timeframe) / MINUTE_MS
        self._step_seconds = minutes / POINTS / speed if speed else 0.0
        self._idle_at = -1
        self._idle = asyncio.Event()
        self._due = 0.0

    def idle(self, number: int) -> None:
        """Take a client's word that everything up to this step is handled."""
        if number == self._exchange.number:
            self._idle_at = number
            self._idle.set()

    async def run(self, audience: Audience) -> None:
        """Step until the market ends; then return."""
        await audience.present()
        log.info("market_starts", step=self._exchange.number, time=self._exchange.time)
        self._due = self._clock.monotonic()
        while not self._exchange.ended:
            if self.pace == "lockstep":
                await self._answered()
                await audience.present()
            await self._wait_for_speed()
            await self._source.ready(self._exchange.number + 1)
            await self._step(audience)
        log.info("market_ended", step=self._exchange.number, time=self._exchange.time)

    async def _step(self, audience: Audience) -> None:
        number = self._exchange.number + 1
        moment = self._source.at(number)
        if moment is None:
            self._exchange.ended = True
            return
        advance = self._exchange.advance(moment)
        self._exchange.ended = self._source.ends_with(number)
        await audience.tell(advance, ended=self._exchange.ended)

    async def _answered(self) -> None:
        while self._idle_at != self._exchange.number:
            self._idle.clear()
            await self._idle.wait()

    async def _wait_for_speed(self) -> None:
        """Keep the steps apart; time lost to slow answers is not made up for."""
        now = self._clock.monotonic()
        self._due = max(self._due + self._step_seconds, now)
        await self._clock.sleep(self._due - now)
