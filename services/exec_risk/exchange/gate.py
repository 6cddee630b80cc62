"""The door that every request goes through: it waits for the limits, or is not sent at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

from services.exec_risk.exchange.client import Reply
from services.exec_risk.exchange.clock import ExchangeClock
from services.exec_risk.exchange.limits import (
    Cost,
    Pushback,
    RateLimiter,
    RateLimits,
    Ticket,
    Use,
)
from services.exec_risk.exchange.meter import LimitMeter
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

LIMITED_SECONDS, BANNED_SECONDS = 5.0, 120.0
"""Where an answer of 429 or 418 does not say how long."""
LONGEST_NAP_MS = 250
"""An answer in between may tell that there is room again."""
_BANNED_UNTIL = re.compile(r"banned until (\d{13})")


class LimitReached(Exception):
    """The request was not sent: it would have to wait longer than it may."""

    def __init__(self, wait_ms: int, reason: str) -> None:
        super().__init__(f"{reason}; free in {wait_ms} ms")


class Gate:
    """Admits requests within the exchange's limits and takes what answers say of them."""

    def __init__(
        self,
        clock: Clock,
        exchange_clock: ExchangeClock,
        *,
        kept_percent: int,
        meter: LimitMeter,
        market_time: Callable[[], int],
    ) -> None:
        self.limits = RateLimits()
        self._clock = clock
        self._exchange_clock = exchange_clock
        self._limiter = RateLimiter(self.limits, kept_percent)
        self._pushback = Pushback()
        self._meter = meter
        self._market_time = market_time
        self._banned = ""

    @property
    def banned(self) -> str:
        """Until when (UTC) the exchange has banned us; empty when it has not."""
        return self._banned if self._pushback.banned_until > self._monotonic_ms() else ""

    @property
    def held(self) -> bool:
        """True while the exchange wants fewer requests, or none."""
        return self._pushback.wait_ms(self._monotonic_ms(), Use.READ) > 0

    def set_limits(self, limits: RateLimits) -> None:
        """Take the limits that the exchange tells."""
        self.limits = limits
        self._limiter.set_limits(limits)

    async def enter(self, cost: Cost, use: Use, patience_ms: int) -> Ticket:
        """Wait until the request may be sent, at most so long; LimitReached when it may not."""
        waited, began = False, self._monotonic_ms()
        while True:
            wait, reason = self._wait(cost, use)
            if wait <= 0:
                ticket = self._limiter.take(self._window_ms(), cost)
                self._meter.used(self._limiter.used_share(self._window_ms()))
                return ticket
            if self._monotonic_ms() - began + wait > patience_ms:
                self._meter.refused(use)
                raise LimitReached(wait, reason)
            if not waited:
                self._meter.waited(use)
                waited = True
            await self._clock.sleep(min(wait, LONGEST_NAP_MS) / 1000)

    def leave(self, ticket: Ticket, reply: Reply, use: Use) -> None:
        """Take an answer, or the lack of one."""
        now = self._window_ms()
        self._limiter.settle(now, ticket, reply.headers)
        self._meter.used(self._limiter.used_share(now))
        if reply.status in (418, 429):
            self._pushed_back(reply, use)

    def _wait(self, cost: Cost, use: Use) -> tuple[int, str]:
        held = self._pushback.wait_ms(self._monotonic_ms(), use)
        if held:
            return held, "banned by the exchange" if self.banned else "the exchange asked to wait"
        window = self._limiter.wait_ms(self._window_ms(), cost, use)
        return window, "the exchange's limits are used up"

    def _pushed_back(self, reply: Reply, use: Use) -> None:
        status, now = reply.status or 0, self._monotonic_ms()
        seconds = self._asked_seconds(reply)
        self._meter.pushed_back(status)
        if status == 418:
            self._pushback.banned(now, seconds)
            ends = self._clock.now() + timedelta(seconds=seconds)
            self._banned = ends.isoformat(timespec="seconds")
            log.error("exchange_banned_us", until=self._banned)
        else:
            self._pushback.limited(now, seconds, use)
            log.warning("exchange_rate_limited", seconds=seconds, use=str(use))

    def _asked_seconds(self, reply: Reply) -> float:
        named = {key.lower(): value for key, value in reply.headers.items()}
        after = named.get("retry-after", "")
        if after.isdigit():
            return float(after)
        until = _BANNED_UNTIL.search(str(reply.error))
        if until:
            return max(0.0, (int(until.group(1)) - self._exchange_clock.exchange_ms()) / 1000)
        return BANNED_SECONDS if reply.status == 418 else LIMITED_SECONDS

    def _window_ms(self) -> int:
        # the paper venue's windows pass with wall time plus market time
        return self._exchange_clock.exchange_ms() + self._market_time()

    def _monotonic_ms(self) -> int:
        return int(self._clock.monotonic() * 1000)
