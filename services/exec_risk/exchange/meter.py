"""Metrics of the exchange's rate limits."""

from __future__ import annotations

from typing import Protocol

from services.exec_risk.exchange.limits import Use
from services.kit.observe.metrics import Metrics


class LimitMeter(Protocol):
    """What is counted."""

    def used(self, share: float) -> None:
        """Take the largest share of a limit that is used, as a fraction."""
        ...

    def waited(self, use: Use) -> None:
        """Count a request that waited for a limit."""
        ...

    def refused(self, use: Use) -> None:
        """Count a request that was not sent because of a limit."""
        ...

    def pushed_back(self, status: int) -> None:
        """Count an answer of 429 or 418."""
        ...


class Unmetered:
    """Counts nothing."""

    def used(self, share: float) -> None:
        """Take the share."""

    def waited(self, use: Use) -> None:
        """Count a wait."""

    def refused(self, use: Use) -> None:
        """Count a refusal."""

    def pushed_back(self, status: int) -> None:
        """Count an answer."""


class PrometheusMeter:
    """Counts into the process's metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._used = metrics.gauge(
            "exchange_limit_used_ratio", "Largest share of an exchange rate limit in use."
        )
        self._waits = metrics.counter(
            "exchange_limit_waits_total", "Requests that waited for a rate limit.", ("use",)
        )
        self._refused = metrics.counter(
            "exchange_limit_refused_total", "Requests not sent because of a rate limit.", ("use",)
        )
        self._pushed_back = metrics.counter(
            "exchange_pushbacks_total", "Answers 429 (slow down) and 418 (banned).", ("status",)
        )
        # a series that appears with its first event hides that event from a rate
        for use in Use:
            self._waits.labels(str(use))
            self._refused.labels(str(use))
        for status in (418, 429):
            self._pushed_back.labels(str(status))

    def used(self, share: float) -> None:
        """Set the gauge."""
        self._used.set(share)

    def waited(self, use: Use) -> None:
        """Count a wait."""
        self._waits.labels(str(use)).inc()

    def refused(self, use: Use) -> None:
        """Count a refusal."""
        self._refused.labels(str(use)).inc()

    def pushed_back(self, status: int) -> None:
        """Count an answer."""
        self._pushed_back.labels(str(status)).inc()
