"""Where stop and target stand: from the average fill, by fractions, quantised away from entry."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.exec_risk.core.policy import Policy
from services.trade.filters import SymbolFilters
from services.trade.position import PositionSide


class AbsurdDistance(ValueError):
    """A distance or price that cannot be meant."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Trigger prices of a position's protection."""

    stop: Decimal
    take: Decimal


def fractions(atr_fraction: Decimal, policy: Policy) -> tuple[Decimal, Decimal]:
    """Return the stop's and the target's distance as fractions of the entry price.

    `atr_fraction` is a fraction of price: 0.02 is 2 %. AbsurdDistance when a distance exceeds
    the policy's largest, as it does when a price or a percentage is passed instead.
    """
    if not atr_fraction.is_finite() or atr_fraction < 0:
        raise AbsurdDistance(f"average true range {atr_fraction} is not a fraction of price")
    stop = max(policy.stop_atr * atr_fraction, policy.min_stop_fraction)
    take = max(policy.take_atr * atr_fraction, policy.min_take_fraction)
    if stop > policy.max_stop_fraction:
        raise AbsurdDistance(f"stop distance {stop} exceeds {policy.max_stop_fraction}")
    if take > policy.max_take_fraction:
        raise AbsurdDistance(f"target distance {take} exceeds {policy.max_take_fraction}")
    return stop, take


def levels(
    side: PositionSide,
    entry: Decimal,
    stop_fraction: Decimal,
    take_fraction: Decimal,
    filters: SymbolFilters,
) -> Levels:
    """Return stop and target of a position with this average entry price.

    LONG: stop < entry < target; SHORT: target < entry < stop. Prices are rounded to the tick
    away from the entry. AbsurdDistance when a distance is not positive or a price not above 0.
    """
    if stop_fraction <= 0 or take_fraction <= 0:
        raise AbsurdDistance(f"distances {stop_fraction} and {take_fraction} must be positive")
    if side is PositionSide.LONG:
        found = Levels(
            filters.floor_price(entry * (1 - stop_fraction)),
            filters.ceil_price(entry * (1 + take_fraction)),
        )
    else:
        found = Levels(
            filters.ceil_price(entry * (1 + stop_fraction)),
            filters.floor_price(entry * (1 - take_fraction)),
        )
    check(side, entry, found)
    return found


def check(side: PositionSide, entry: Decimal, found: Levels) -> None:
    """Refuse levels on the wrong side of the entry or not above 0: AbsurdDistance."""
    low, high = sorted((found.stop, found.take))
    right = (found.stop < found.take) == (side is PositionSide.LONG)
    if low <= 0 or not (low < entry < high) or not right:
        raise AbsurdDistance(
            f"{side} from {entry}: stop {found.stop} and target {found.take} are not around it"
        )
