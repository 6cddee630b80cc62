"""How positions are protected and left: every distance, as one value.

Distances are fractions of price (0.01 is 1 %), or multiples of R or of the average true range.
R is the distance between average entry and first stop per unit, so it does not depend on size.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.trade.times import MINUTE_MS

LARGEST_FRACTION = Decimal("0.5")
"""No distance of a stop is meant to be larger: a percentage was passed for a fraction."""


@dataclass(frozen=True, slots=True)
class Partial:
    """One target before the last: the share of the position that it closes, and its place in R."""

    share: Decimal
    reward: Decimal


@dataclass(frozen=True, slots=True)
class ProtectionPolicy:
    """Settings of stops, targets and exits. ValueError when they contradict each other."""

    dynamic: bool = True
    """True: distances follow volatility and confidence; False: the fixed ones hold."""
    stop_atr: Decimal = Decimal("2")
    """Distance of the first stop in average true ranges."""
    fixed_stop_fraction: Decimal = Decimal("0.01")
    min_reward: Decimal = Decimal("1.5")
    """Distance of the last target in R at confidence 0, and where `dynamic` is off."""
    max_reward: Decimal = Decimal("4")
    """Distance of the last target in R at confidence 1; between the two it is linear."""
    min_stop_fraction: Decimal = Decimal("0.004")
    max_stop_fraction: Decimal = Decimal("0.10")
    min_take_fraction: Decimal = Decimal("0.006")
    max_take_fraction: Decimal = Decimal("0.50")
    partials: tuple[Partial, ...] = (Partial(Decimal("0.5"), Decimal("1.5")),)
    """Targets before the last one, nearest first."""
    break_even_reward: Decimal = Decimal("1")
    """Profit in R from which the stop covers entry and costs; 0: never."""
    trailing: bool = True
    trail_reward: Decimal = Decimal("1.5")
    """Profit in R from which the stop trails the best price."""
    trail_atr: Decimal = Decimal("2")
    """Distance of the trailing stop from the best price in average true ranges."""
    min_trail_fraction: Decimal = Decimal("0.003")
    max_trail_fraction: Decimal = Decimal("0.05")
    replace_fraction: Decimal = Decimal("0.001")
    """A stop or target that stands nearer to where it belongs is not replaced (incident 21)."""
    follow_prices: bool = False
    """True: price reports move the trailing stop and tell spread and funding; False: closed
    candles alone, the same in every run of one market."""
    assumed_spread: Decimal = Decimal("0.0001")
    """Spread as a fraction of price while none is known."""
    assumed_funding: Decimal = Decimal("0.0001")
    """Funding rate against the position at each settlement while none is known."""
    stop_spreads: Decimal = Decimal("3")
    """A stop stands at least this many spreads away from the entry."""
    max_holding_ms: int = 60 * MINUTE_MS
    max_stops: int = 6
    """Stops of one position that may exist at once, those of unknown outcome included."""
    max_targets: int = 6
    retry_pause_ms: int = MINUTE_MS
    """Market time until a refused target or tighter stop is tried again; doubled each time."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        ranges = (
            ("stop", self.min_stop_fraction, self.max_stop_fraction, LARGEST_FRACTION),
            ("target", self.min_take_fraction, self.max_take_fraction, Decimal(1)),
            ("trailing", self.min_trail_fraction, self.max_trail_fraction, LARGEST_FRACTION),
            ("reward", self.min_reward, self.max_reward, Decimal(100)),
        )
        for name, least, most, limit in ranges:
            if not 0 < least <= most <= limit:
                raise ValueError(f"{name}: 0 < {least} <= {most} <= {limit} does not hold")
        if not self.min_stop_fraction <= self.fixed_stop_fraction <= self.max_stop_fraction:
            raise ValueError(f"fixed stop {self.fixed_stop_fraction} is out of its range")
        shares = sum((p.share for p in self.partials), Decimal(0))
        if shares >= 1 or any(p.share <= 0 or p.reward <= 0 for p in self.partials):
            raise ValueError(f"partial targets {self.partials} are not parts of one position")
        rewards = [p.reward for p in self.partials]
        if rewards != sorted(set(rewards)):
            raise ValueError(f"partial targets at {rewards} R do not lie one behind the other")
        if self.trailing and self.trail_atr <= 0:
            raise ValueError(f"trailing distance {self.trail_atr} is not positive")

    def reward(self, confidence: float) -> Decimal:
        """Return the last target's distance in R for a confidence in [0, 1]."""
        if not self.dynamic:
            return self.min_reward
        # not a number compares as false and counts as no confidence
        share = Decimal(str(confidence)) if 0 <= confidence <= 1 else Decimal(0)
        return self.min_reward + (self.max_reward - self.min_reward) * share

    def trail_fraction(self, atr_fraction: Decimal, stop_fraction: Decimal) -> Decimal:
        """Return the trailing distance as a fraction of the best price.

        Where the average true range is not known the first stop's distance stands for it.
        """
        distance = self.trail_atr * atr_fraction if atr_fraction > 0 else stop_fraction
        return min(max(distance, self.min_trail_fraction), self.max_trail_fraction)

    @property
    def summary(self) -> str:
        """Say the settings in one line, for people."""
        stop = f"stop {self.stop_atr} ATR" if self.dynamic else f"stop {self.fixed_stop_fraction}"
        most = self.max_reward if self.dynamic else self.min_reward
        parts = [
            f"{stop} in {self.min_stop_fraction}..{self.max_stop_fraction}",
            f"target {self.min_reward}R..{most}R",
        ]
        parts += [f"{p.share} of it at {p.reward}R" for p in self.partials]
        if self.break_even_reward:
            parts.append(f"break-even at {self.break_even_reward}R")
        if self.trailing:
            parts.append(f"trailing from {self.trail_reward}R at {self.trail_atr} ATR")
        return ", ".join([*parts, f"out after {self.max_holding_ms // MINUTE_MS} min"])
