"""Where stop and target stand: from the average fill, by fractions, quantised away from entry."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.exec_risk.core.protection.protection_policy import ProtectionPolicy
from services.trade.filters import SymbolFilters
from services.trade.position import PositionSide


class AbsurdDistance(ValueError):
    """A distance or price that cannot be meant."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Trigger prices of a position's protection."""

    stop: Decimal
    take: Decimal


def fractions(
    atr_fraction: Decimal, confidence: float, policy: ProtectionPolicy
) -> tuple[Decimal, Decimal]:
    """Return the stop's and the last target's distance as fractions of the entry price.

    `atr_fraction` is a fraction of price: 0.02 is 2 %. AbsurdDistance when a distance exceeds
    the policy's largest, as it does when a price or a percentage is passed instead.
    """
    if not atr_fraction.is_finite() or atr_fraction < 0:
        raise AbsurdDistance(f"average true range {atr_fraction} is not a fraction of price")
    wanted = policy.stop_atr * atr_fraction if policy.dynamic else policy.fixed_stop_fraction
    stop = max(wanted, policy.min_stop_fraction)
    if stop > policy.max_stop_fraction:
        raise AbsurdDistance(f"stop distance {stop} exceeds {policy.max_stop_fraction}")
    take = max(policy.reward(confidence) * stop, policy.min_take_fraction)
    if take > policy.max_take_fraction:
        raise AbsurdDistance(f"target distance {take} exceeds {policy.max_take_fraction}")
    return stop, take


def asked(
    found: tuple[Decimal, Decimal],
    stop: Decimal | None,
    take: Decimal | None,
    policy: ProtectionPolicy,
) -> tuple[Decimal, Decimal]:
    """Return the distances with those that a caller asked for in their place.

    AbsurdDistance outside what the policy allows; nothing is corrected silently.
    """
    if stop is not None and not policy.min_stop_fraction <= stop <= policy.max_stop_fraction:
        raise AbsurdDistance(
            f"stop distance {stop} is not between {policy.min_stop_fraction} and"
            f" {policy.max_stop_fraction}"
        )
    if take is not None and not 0 < take <= policy.max_take_fraction:
        raise AbsurdDistance(f"target distance {take} is not above 0 and up to its largest")
    return found[0] if stop is None else stop, found[1] if take is None else take


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
    if not (entry.is_finite() and found.stop.is_finite() and found.take.is_finite()):
        raise AbsurdDistance(f"{side} from {entry}: not all of it is a number")
    low, high = sorted((found.stop, found.take))
    right = (found.stop < found.take) == (side is PositionSide.LONG)
    if low <= 0 or not (low < entry < high) or not right:
        raise AbsurdDistance(
            f"{side} from {entry}: stop {found.stop} and target {found.take} are not around it"
        )


def first_stop(
    side: PositionSide, entry: Decimal, fraction: Decimal, tick: SymbolFilters
) -> Decimal:
    """Return where a stop at this distance from the average entry stands, rounded away from it."""
    price = entry * (1 - side.sign * fraction)
    return tick.floor_price(price) if side is PositionSide.LONG else tick.ceil_price(price)


def tighter(side: PositionSide, one: Decimal, other: Decimal) -> bool:
    """Tell whether a stop at `one` ends the position earlier than one at `other`."""
    return (one - other) * side.sign > 0


def near(one: Decimal, other: Decimal, fraction: Decimal) -> bool:
    """Tell whether two prices differ by less than a fraction of the second."""
    return abs(one - other) < abs(other) * fraction


def check_stop(
    side: PositionSide, entry: Decimal, stop: Decimal, market: Decimal | None, farthest: Decimal
) -> None:
    """Refuse a stop that cannot be meant, whoever asks for it: AbsurdDistance.

    It is a price above 0; at most `farthest` from the entry on the losing side (a distance in
    price, with the tick that rounding away from the entry may add); and, where the market's price
    is known, not on its wrong side. Nothing is corrected silently (incident 1).
    """
    if not stop.is_finite() or stop <= 0:
        raise AbsurdDistance(f"stop {stop} is not a price above 0")
    if (entry - stop) * side.sign > farthest:
        raise AbsurdDistance(f"{side} from {entry}: stop {stop} is further away than {farthest}")
    if market is not None and (market - stop) * side.sign <= 0:
        raise AbsurdDistance(f"{side} at {market}: stop {stop} is on the wrong side of the price")
