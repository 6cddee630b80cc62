"""From one version of the fund's policy to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from services.trade.fund_modes import ModeLimits, limits_of, with_limits
from services.trade.fund_policy import FundMode, FundPolicy

FIRST_EFFECTIVE = 1000
"""The first version holds from the beginning of all markets."""
_OWN = ("version", "effective_from")
"""Fields that the store alone writes."""
CHANGEABLE = tuple(f.name for f in fields(FundPolicy) if f.name not in _OWN)


class Invalid(ValueError):
    """A change whose result breaks rules; `broken` holds (field, rule) of each."""

    def __init__(self, broken: tuple[tuple[str, str], ...]) -> None:
        super().__init__("; ".join(f"{field} {rule}" for field, rule in broken))
        self.broken = broken


@dataclass(frozen=True, slots=True)
class Version:
    """A version with how it came about."""

    policy: FundPolicy
    updated_by: str
    reasons: tuple[str, ...]
    changed: tuple[str, ...]
    """Fields that differ from the version before."""
    decided_at: int
    """Market time."""


def next_policy(
    current: FundPolicy, changes: Mapping[str, Any], *, normal: ModeLimits, time: int
) -> FundPolicy:
    """Return the version after `current`, decided at a market time; Invalid when it breaks rules.

    It holds right after that time, so that the round of the decision is not touched. A mode brings
    its limits along; what is given besides wins over them.
    """
    found = current
    mode = changes.get("fund_mode")
    if isinstance(mode, FundMode) and mode is not current.fund_mode:
        found = with_limits(found, limits_of(mode, normal))
    found = replace(
        found,
        **changes,
        version=current.version + 1,
        effective_from=max(time + 1, current.effective_from, FIRST_EFFECTIVE),
    )
    if broken := found.broken_rules():
        raise Invalid(broken)
    return found


def differing(before: FundPolicy, after: FundPolicy) -> tuple[str, ...]:
    """Return the names of the fields that differ, in the order of the policy."""
    return tuple(name for name in CHANGEABLE if getattr(before, name) != getattr(after, name))


def values_of(policy: FundPolicy) -> dict[str, Any]:
    """Return everything that a change may set, as it is in this version: for a rollback."""
    return {name: getattr(policy, name) for name in CHANGEABLE}
