"""One REST call: its parameters, and reading them with Binance's refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any

from services.trade.order import Side
from services.venue.core import rejections
from services.venue.store import Span

_UNTIL_EVER = 1 << 62

Json = Any
"""What a handler answers: JSON-able data."""


class Security(Enum):
    """What a call must prove."""

    PUBLIC = "public"
    KEY = "key"
    SIGNED = "signed"


@dataclass(frozen=True, slots=True)
class Call:
    """The parameters of one request."""

    parameters: Mapping[str, str]

    def text(self, name: str, default: str | None = None) -> str:
        """Return a parameter, or its default, or refuse."""
        value = self.parameters.get(name) or default
        if value is None:
            raise rejections.mandatory(name)
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        """Return a whole number, or its default, or refuse."""
        value = self.parameters.get(name)
        if not value:
            if default is None:
                raise rejections.mandatory(name)
            return default
        try:
            return int(value)
        except ValueError:
            raise rejections.mandatory(name) from None

    def decimal(self, name: str) -> Decimal | None:
        """Return a decimal, or None when it was not sent, or refuse."""
        value = self.parameters.get(name)
        if not value:
            return None
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise rejections.mandatory(name) from None
        if not number.is_finite():
            raise rejections.mandatory(name)
        return number

    def flag(self, name: str) -> bool:
        """Return a boolean; false when it was not sent."""
        return self.parameters.get(name, "false").lower() == "true"

    def side(self) -> Side:
        """Return the order's side, or refuse."""
        try:
            return Side(self.text("side"))
        except ValueError:
            raise rejections.Rejection(-1117, "Invalid side.") from None

    def limit(self, default: int, most: int) -> int:
        """Return the number of rows asked for, within bounds."""
        return max(1, min(self.integer("limit", default), most))


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint: who answers, what the caller must prove, what it costs."""

    handler: Callable[[Call], Json]
    security: Security = Security.PUBLIC
    weight: int | Callable[[Call], int] = 1
    orders: int | Callable[[Call], int] = 0
    """How many orders it counts as."""

    def cost(self, call: Call) -> int:
        """Return the weight of a call."""
        return self.weight if isinstance(self.weight, int) else self.weight(call)

    def order_count(self, call: Call) -> int:
        """Return how many orders a call counts as."""
        return self.orders if isinstance(self.orders, int) else self.orders(call)


Routes = dict[tuple[str, str], Route]
"""(method, path) to route."""


def span_of(call: Call, default: int, most: int = 1000) -> Span:
    """Return which rows a call asks for: without a beginning, the newest ones."""
    given = "startTime" in call.parameters or "fromId" in call.parameters
    since, until = call.integer("startTime", 0), call.integer("endTime", _UNTIL_EVER)
    return Span(since, until, call.limit(default, most), newest=not given)
