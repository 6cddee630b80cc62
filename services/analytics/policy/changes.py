"""PolicyChange of the contract as the fields that it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quantum.analytics.v1 import policy_pb2 as pb

from services.kit.errors import InvalidArgument
from services.trade.codec import CodecError, decimal_from_pb, enum_from_pb
from services.trade.fund_policy import FundMode, SystemMode

_READ: dict[str, Callable[[Any], Any]] = {
    "system_mode": lambda value: enum_from_pb(SystemMode, value),
    "fund_mode": lambda value: enum_from_pb(FundMode, value),
    "size_factor": lambda value: decimal_from_pb(value, "size_factor"),
    "max_slippage": lambda value: decimal_from_pb(value, "max_slippage"),
    "blocked_symbols": lambda value: frozenset(value.symbols),
    "model_weights": lambda value: dict(value.weights),
}


def fields_of(change: pb.PolicyChange) -> dict[str, Any]:
    """Return the fields that are given, by their names in the policy; InvalidArgument for one
    that cannot be read."""
    found = {}
    for field, value in change.ListFields():
        try:
            found[field.name] = _READ.get(field.name, _as_it_is)(value)
        except CodecError as error:
            raise InvalidArgument.of(f"change.{field.name}", str(error)) from error
    return found


def _as_it_is(value: Any) -> Any:
    return value
