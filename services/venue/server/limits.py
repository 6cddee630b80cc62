"""Request weight and order counts, with Binance's windows and headers."""

from __future__ import annotations

from dataclasses import dataclass

_MINUTE_MS = 60_000
_TEN_SECONDS_MS = 10_000


class TooManyRequests(Exception):
    """A limit is used up; `retry_after` in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after


@dataclass(slots=True)
class _Window:
    length: int
    limit: int
    began: int = 0
    used: int = 0

    def roll(self, now: int) -> None:
        start = now - now % self.length
        if start != self.began:
            self.began, self.used = start, 0

    def left_ms(self, now: int) -> int:
        return self.began + self.length - now


class Limits:
    """Counts what one client uses.

    Its time is wall time plus market time: while the market runs faster than the wall, the
    limits keep their meaning per market minute; while it stands, windows still pass.
    """

    def __init__(self, *, weight: int, orders_10s: int, orders_1m: int) -> None:
        self.weight_limit, self.orders_10s, self.orders_1m = weight, orders_10s, orders_1m
        self._weight = _Window(_MINUTE_MS, weight)
        self._ten = _Window(_TEN_SECONDS_MS, orders_10s)
        self._minute = _Window(_MINUTE_MS, orders_1m)

    def take(self, now: int, *, weight: int, orders: int) -> dict[str, str]:
        """Count a request and return its headers, or raise TooManyRequests."""
        for window in (self._weight, self._ten, self._minute):
            window.roll(now)
        self._weight.used += weight
        if self._weight.used > self._weight.limit:
            raise TooManyRequests(
                f"Too many requests; current limit is {self._weight.limit} request weight per 1"
                " MINUTE. Please use WebSocket Streams for live updates to avoid polling the API.",
                self._seconds(self._weight, now),
            )
        headers = {"X-MBX-USED-WEIGHT-1M": str(self._weight.used)}
        if orders:
            for window in (self._ten, self._minute):
                window.used += orders
                if window.used > window.limit:
                    raise TooManyRequests(
                        f"Too many new orders; current limit is {window.limit} orders.",
                        self._seconds(window, now),
                    )
            headers["X-MBX-ORDER-COUNT-10S"] = str(self._ten.used)
            headers["X-MBX-ORDER-COUNT-1M"] = str(self._minute.used)
        return headers

    def _seconds(self, window: _Window, now: int) -> int:
        return max(1, -(-window.left_ms(now) // 1000))
