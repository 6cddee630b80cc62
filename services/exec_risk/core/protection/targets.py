"""The ladder of targets: which part of a position is closed at which price."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from services.exec_risk.core.protection.protection_policy import ProtectionPolicy
from services.exec_risk.core.protection.trailing import Ride
from services.trade.position import PositionSide


@dataclass(frozen=True, slots=True)
class Rung:
    """One target: a trigger price and the quantity that it closes."""

    price: Decimal
    quantity: Decimal


def ladder(
    ride: Ride,
    policy: ProtectionPolicy,
    *,
    take_fraction: Decimal,
    total: Decimal,
    held: Decimal,
    taken: Decimal,
) -> tuple[Rung, ...]:
    """Return the targets of what is held, nearest first; their quantities add up to it exactly.

    `total` is all that was ever entered, `taken` what targets have closed of it. A part that does
    not clear the costs (incident 90), or that the symbol's filters do not allow, goes to the next.
    """
    left, done, rungs = held, taken, list[Rung]()
    carried = Decimal(0)
    for partial in policy.partials:
        planned = ride.filters.floor_quantity(total * partial.share)
        part = min(max(planned - done, Decimal(0)) + carried, left)
        done = max(done - planned, Decimal(0))
        distance = partial.reward * ride.stop_fraction
        rung = Rung(_price(ride, distance), part)
        if ride.cost < distance < take_fraction and _allowed(ride, rung):
            rungs.append(rung)
            left, carried = left - part, Decimal(0)
        else:
            carried = part
    last = Rung(_price(ride, take_fraction), left)
    if left > 0 and rungs and not _allowed(ride, last):
        rungs[-1] = replace(rungs[-1], quantity=rungs[-1].quantity + left)
    elif left > 0:
        rungs.append(last)
    return tuple(rungs)


def _price(ride: Ride, distance: Decimal) -> Decimal:
    """Return the price at a distance in profit, on the tick away from the entry."""
    price = ride.entry * (1 + ride.side.sign * distance)
    if ride.side is PositionSide.LONG:
        return ride.filters.ceil_price(price)
    return ride.filters.floor_price(price)


def _allowed(ride: Ride, rung: Rung) -> bool:
    filters = ride.filters
    large = rung.quantity * rung.price >= filters.min_notional
    return rung.quantity >= filters.min_quantity and rung.quantity > 0 and large
