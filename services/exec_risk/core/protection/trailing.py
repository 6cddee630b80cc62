"""Where a stop has moved to: break-even, then trailing the best price. It never loosens.

Our own stops are replaced, place first, then cancel; the exchange's trailing order is not used, so
no callback rate is ever sent (incident 3).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

from services.exec_risk.core.protection.protection import first_stop, near, tighter
from services.exec_risk.core.protection.protection_policy import ProtectionPolicy
from services.trade.filters import SymbolFilters
from services.trade.position import PositionSide

_LARGEST_PRICE = Decimal(10) ** 12


class Stage(StrEnum):
    """What last moved the stop."""

    FIRST = "FIRST"
    BREAK_EVEN = "BREAK_EVEN"
    TRAILING = "TRAILING"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a position's protection has come; kept over restarts."""

    position_id: str
    stage: Stage = Stage.FIRST
    best_price: Decimal | None = None
    """Best price for the position since its entry; None before the first look."""
    stop_price: Decimal | None = None
    """Where the moved stop belongs; None while the first one holds."""
    taken: Decimal = Decimal(0)
    """Quantity that targets have closed."""
    hold_until: int = 0
    """Market time until which the longest holding time is put off; 0: it is not."""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Ride:
    """What of a position decides how its stop moves."""

    side: PositionSide
    entry: Decimal
    """Average entry price."""
    stop_fraction: Decimal
    atr_fraction: Decimal
    cost: Decimal
    """Fraction of the notional that entering and leaving costs."""
    filters: SymbolFilters
    first: Decimal = field(init=False)
    """The first stop."""

    def __post_init__(self) -> None:
        stop = first_stop(self.side, self.entry, self.stop_fraction, self.filters)
        object.__setattr__(self, "first", stop)

    def reward(self, price: Decimal) -> Decimal:
        """Return the profit at a price in R: per unit, whatever the size (incident 89)."""
        return (price - self.entry) * self.side.sign / (self.entry * self.stop_fraction)

    def rounded(self, price: Decimal) -> Decimal:
        """Return a stop's price on the tick, away from the market."""
        if self.side is PositionSide.LONG:
            return self.filters.floor_price(price)
        return self.filters.ceil_price(price)


def stop_of(progress: Progress, ride: Ride) -> Decimal:
    """Return where the stop belongs now."""
    return ride.first if progress.stop_price is None else progress.stop_price


def usable(price: Decimal | None) -> bool:
    """Tell whether a number is a price: finite, above 0, and not beyond all prices."""
    return price is not None and price.is_finite() and 0 < price < _LARGEST_PRICE


def seen(progress: Progress, ride: Ride, price: Decimal, step: Decimal) -> Progress:
    """Return the progress after a price; it changes only by more than `step`, a fraction."""
    if not usable(price):
        return progress
    best = progress.best_price
    if best is not None and (price - best) * ride.side.sign <= best * step:
        return progress
    return replace(progress, best_price=price, version=progress.version + 1)


def moved(progress: Progress, ride: Ride, policy: ProtectionPolicy) -> Progress:
    """Return the progress with the stop where the best price puts it; only ever tighter.

    A move of less than the policy's `replace_fraction` is not made (incident 21).
    """
    best = progress.best_price
    if best is None or ride.entry <= 0 or ride.stop_fraction <= 0:
        return progress
    candidates = _candidates(best, ride, policy)
    if not candidates:
        return progress
    current = stop_of(progress, ride)
    found = progress
    for stage, price in candidates:
        stands = stop_of(found, ride)
        if usable(price) and tighter(ride.side, price, stands):
            found = replace(found, stop_price=price, stage=stage)
    stop = found.stop_price
    if found is progress or stop is None or near(stop, current, policy.replace_fraction):
        return progress
    return replace(found, version=progress.version + 1)


def _candidates(best: Decimal, ride: Ride, policy: ProtectionPolicy) -> list[tuple[Stage, Decimal]]:
    sign, reward = ride.side.sign, ride.reward(best)
    found: list[tuple[Stage, Decimal]] = []
    if policy.break_even_reward > 0 and reward >= policy.break_even_reward:
        found.append((Stage.BREAK_EVEN, ride.rounded(ride.entry * (1 + sign * ride.cost))))
    if policy.trailing and reward >= policy.trail_reward:
        distance = policy.trail_fraction(ride.atr_fraction, ride.stop_fraction)
        found.append((Stage.TRAILING, ride.rounded(best * (1 - sign * distance))))
    return found
