"""Spans and latencies of the requests that change something on the exchange."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Histogram

from services.exec_risk.core.exchange_events import Accepted, Refused, RequestOutcome
from services.kit.observe.telemetry import Attributes, Telemetry
from services.kit.observe.trace_context import exemplar
from services.trade.order import Order


class Asked:
    """A request that is under way; its outcome is told before it ends."""

    def __init__(self) -> None:
        self.outcome: RequestOutcome | None = None


class RequestSpans:
    """Follows each request from its admission to its outcome."""

    def __init__(
        self, telemetry: Telemetry | None = None, seconds: Histogram | None = None
    ) -> None:
        self.telemetry = telemetry
        self._seconds = seconds

    @contextmanager
    def order(self, name: str, order: Order) -> Iterator[Asked]:
        """Follow `place order` or `cancel order`."""
        attributes: Attributes = {
            "quantum.client_order_id": order.client_order_id,
            "quantum.symbol": order.symbol,
            "quantum.order.purpose": order.purpose.value,
            "quantum.order.type": order.type.value,
            "quantum.order.side": order.side.value,
            "quantum.order.quantity": str(order.quantity),
        }
        asked, began = Asked(), time.perf_counter()
        if self.telemetry is None:
            yield asked
            return
        with self.telemetry.span(name, attributes=attributes) as draft:
            yield asked
            if draft is not None:
                draft.attributes["quantum.outcome"] = type(asked.outcome).__name__.lower()
                draft.error = _error(asked.outcome)
            if self._seconds is not None:
                self._seconds.observe(time.perf_counter() - began, exemplar())


def _error(outcome: RequestOutcome | None) -> str:
    if outcome is None or isinstance(outcome, Accepted):
        return ""
    if isinstance(outcome, Refused):
        return f"{outcome.code} {outcome.message}".strip()
    return outcome.reason
