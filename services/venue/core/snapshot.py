"""The live state as plain data, and back: for the journal and for comparing two venues."""

from __future__ import annotations

import dataclasses
import types
import typing
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from services.venue.core.account import Holding
from services.venue.core.disturbances import Disturbance
from services.venue.core.orders import Conditional, VenueOrder
from services.venue.core.state import State

T = TypeVar("T")


def pack(value: Any) -> dict[str, Any]:
    """Return a value object's fields as JSON-able data."""
    return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}


def unpack(kind: type[T], data: dict[str, Any]) -> T:
    """Return the value object that was packed."""
    hints = _hints(typing.cast("Any", kind))
    return kind(**{name: _typed(hints[name], value) for name, value in data.items()})


def export(state: State) -> dict[str, Any]:
    """Return everything that steps and requests have changed."""
    account = state.account
    return {
        "number": state.number,
        "time": state.time,
        "marks": {symbol: str(price) for symbol, price in sorted(state.marks.items())},
        "wallet": str(account.wallet),
        "holdings": [pack(h) for _, h in sorted(account.holdings.items())],
        "hedged": account.hedged,
        "countdowns": dict(sorted(state.countdowns.items())),
        "leverages": dict(sorted(account.leverages.items())),
        "orders": [pack(o) for _, o in sorted(state.book.orders.items())],
        "conditionals": [pack(c) for _, c in sorted(state.book.conditionals.items())],
        "disturbances": [pack(d) for d in state.disturbances.values()],
    }


def restore(state: State, data: dict[str, Any]) -> None:
    """Put exported data into a fresh state."""
    state.number, state.time = data["number"], data["time"]
    state.marks = {symbol: Decimal(price) for symbol, price in data["marks"].items()}
    state.account.wallet = Decimal(data["wallet"])
    holdings = [unpack(Holding, h) for h in data["holdings"]]
    state.account.holdings = {(h.symbol, h.position_side): h for h in holdings}
    state.account.hedged = data.get("hedged", False)
    state.countdowns = dict(data.get("countdowns", {}))
    state.account.leverages = dict(data["leverages"])
    state.book.orders = {o["order_id"]: unpack(VenueOrder, o) for o in data["orders"]}
    state.book.conditionals = {c["algo_id"]: unpack(Conditional, c) for c in data["conditionals"]}
    kept = [unpack(Disturbance, d) for d in data.get("disturbances", ())]
    state.disturbances = {d.fault_id: d for d in kept}


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    return value.value if isinstance(value, StrEnum) else value


def _typed(hint: Any, value: Any) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(kind for kind in hint.__args__ if kind is not types.NoneType)
    if hint is Decimal or issubclass(hint, StrEnum):
        return hint(value)
    return value
