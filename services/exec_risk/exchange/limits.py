"""What the exchange's rate limits leave, counted as it counts: in fixed windows. Pure.

A share of every limit is kept for what protects money: exits, protective orders, cancels and the
questions that resolve them. Entries and reads may use only the rest, so that however much is
read and entered, a position can always be closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

MINUTE_MS = 60_000
TEN_SECONDS_MS = 10_000
EXIT_SPACING_MS = 1_000
"""After an exit was itself answered 429, exits are tried no faster than this until the hold ends:
requests that go on against a 429 are what turns it into a ban."""


class Use(StrEnum):
    """What a request is for."""

    EXIT = "exit"
    """Exits, protective orders, cancels, and asking what became of an order."""
    ENTRY = "entry"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request takes of the limits: weight of the address, orders of the account."""

    weight: int = 1
    orders: int = 0


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The exchange's limits (exchangeInfo `rateLimits`); defaults are Binance's own."""

    weight_1m: int = 2_400
    orders_1m: int = 1_200
    orders_10s: int = 300


@dataclass(frozen=True, slots=True)
class Ticket:
    """One request that was sent: what it costs, and where the windows stood."""

    cost: Cost
    heard: int
    starts: tuple[int, ...]


@dataclass(slots=True)
class _Window:
    length: int
    limit: int
    header: str
    start: int = 0
    told: int = 0
    """The exchange's own count."""
    blind: int = 0
    """Settled without a count, and perhaps not in `told`."""
    flying: int = 0
    heard: int = 0

    @property
    def used(self) -> int:
        """At least what the exchange has counted; more while answers are under way."""
        return self.told + self.blind + self.flying

    def roll(self, now: int) -> None:
        start = now - now % self.length
        # a clock that was set back a little must not empty the window, one far ahead must not last
        if start > self.start or start < self.start - self.length:
            self.start, self.told, self.blind = start, 0, 0

    def left(self, now: int) -> int:
        return max(1, self.start + self.length - now)


class RateLimiter:
    """Counts requests in the exchange's windows. Times are ms of the exchange's clock."""

    def __init__(self, limits: RateLimits, kept_percent: int) -> None:
        if not 0 <= kept_percent < 100:
            raise ValueError(f"kept_percent {kept_percent} is not within 0..99")
        self._kept = kept_percent
        self._heard = 0
        self._weight = _Window(MINUTE_MS, limits.weight_1m, "x-mbx-used-weight-1m")
        self._minute = _Window(MINUTE_MS, limits.orders_1m, "x-mbx-order-count-1m")
        self._ten = _Window(TEN_SECONDS_MS, limits.orders_10s, "x-mbx-order-count-10s")

    @property
    def _windows(self) -> tuple[_Window, ...]:
        return self._weight, self._minute, self._ten

    def set_limits(self, limits: RateLimits) -> None:
        """Take the limits that the exchange tells."""
        self._weight.limit = limits.weight_1m
        self._minute.limit, self._ten.limit = limits.orders_1m, limits.orders_10s

    def wait_ms(self, now: int, cost: Cost, use: Use) -> int:
        """Return how long this request must wait; 0 means that it may be sent now."""
        waits = [0]
        for window, amount in self._shares(cost):
            window.roll(now)
            allowed = window.limit
            if use is not Use.EXIT:
                allowed = window.limit * (100 - self._kept) // 100
            if amount and window.used + amount > allowed:
                waits.append(window.left(now))
        return max(waits)

    def take(self, now: int, cost: Cost) -> Ticket:
        """Count a request that is sent now."""
        for window, amount in self._shares(cost):
            window.roll(now)
            window.flying += amount
        return Ticket(cost, self._heard, tuple(window.start for window in self._windows))

    def settle(self, now: int, ticket: Ticket, headers: Mapping[str, str]) -> None:
        """Take the answer to a request; without headers (a lost reply) it counts as used.

        A count of the exchange is believed as it is when the request was sent after the last
        answer was heard, because then it is surely the newer one; of requests that were under
        way together the larger count is the truth.
        """
        named = {key.lower(): value for key, value in headers.items()}
        self._heard += 1
        for place, (window, amount) in enumerate(self._shares(ticket.cost)):
            window.roll(now)
            window.flying -= amount
            told = named.get(window.header, "")
            if not told.isdigit() or ticket.starts[place] != window.start:
                window.blind += amount
            elif ticket.heard >= window.heard:
                window.told, window.blind = int(told), 0
            else:
                window.told = max(window.told, int(told))
            window.heard = self._heard

    def used_share(self, now: int) -> float:
        """Return the largest share of a limit that is used, as a fraction."""
        shares = []
        for window in self._windows:
            window.roll(now)
            shares.append(window.used / max(1, window.limit))
        return max(shares)

    def _shares(self, cost: Cost) -> tuple[tuple[_Window, int], ...]:
        amounts = (cost.weight, cost.orders, cost.orders)
        return tuple(zip(self._windows, amounts, strict=True))


@dataclass(slots=True)
class Pushback:
    """What the exchange asked for by 429 (slow down) and 418 (banned). Times: monotonic ms."""

    held_until: int = 0
    banned_until: int = 0
    _exits_until: int = field(default=0, repr=False)

    def wait_ms(self, now: int, use: Use) -> int:
        """Return how long a request must wait: any of them under a ban, exits hardly under 429."""
        until = self._exits_until if use is Use.EXIT else self.held_until
        return max(self.banned_until - now, until - now, 0)

    def limited(self, now: int, seconds: float, use: Use) -> None:
        """Take a 429."""
        self.held_until = max(self.held_until, now + int(seconds * 1000))
        if use is Use.EXIT:
            self._exits_until = min(self.held_until, now + EXIT_SPACING_MS)

    def banned(self, now: int, seconds: float) -> None:
        """Take a 418: nothing at all is sent until it ends."""
        self.banned_until = max(self.banned_until, now + int(seconds * 1000))


def rate_limits(raw: Iterable[Mapping[str, Any]], known: RateLimits) -> RateLimits:
    """Return the limits of exchangeInfo's `rateLimits`; what it does not tell stays as known."""
    told = {
        (str(r.get("rateLimitType")), str(r.get("interval")), int(r.get("intervalNum", 0))): int(
            r.get("limit", 0)
        )
        for r in raw
    }
    return RateLimits(
        weight_1m=told.get(("REQUEST_WEIGHT", "MINUTE", 1)) or known.weight_1m,
        orders_1m=told.get(("ORDERS", "MINUTE", 1)) or known.orders_1m,
        orders_10s=told.get(("ORDERS", "SECOND", 10)) or known.orders_10s,
    )
