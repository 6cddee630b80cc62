"""What each mode of the fund allows: the numbers of the earlier system's HFOS.

Its confidence figures are shares of candles here, as everywhere in the ensemble.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from services.trade.fund_policy import FundMode, FundPolicy, SystemMode


@dataclass(frozen=True, slots=True)
class ModeLimits:
    """The limits of a policy that follow its mode."""

    signal_share: float = 0.05
    size_factor: Decimal = Decimal(1)
    max_positions: int = 10
    max_leverage: int = 20
    max_slippage: Decimal = Decimal("0.005")
    max_orders_per_minute: int = 6

    def within(self, other: ModeLimits) -> ModeLimits:
        """Return the stricter of both, field by field."""
        return ModeLimits(
            signal_share=min(self.signal_share, other.signal_share),
            size_factor=min(self.size_factor, other.size_factor),
            max_positions=min(self.max_positions, other.max_positions),
            max_leverage=min(self.max_leverage, other.max_leverage),
            max_slippage=min(self.max_slippage, other.max_slippage),
            max_orders_per_minute=min(self.max_orders_per_minute, other.max_orders_per_minute),
        )


SAFE = ModeLimits(
    signal_share=0.01,
    size_factor=Decimal("0.6"),
    max_positions=5,
    max_leverage=10,
)
CRITICAL = ModeLimits(
    signal_share=0.0,
    size_factor=Decimal("0.3"),
    max_positions=3,
    max_leverage=5,
    max_slippage=Decimal("0.0005"),
)
AGGRESSIVE_SHARE = 2
"""An aggressive fund takes so many times as many candles as a normal one: 10 % of 5 %."""
AGGRESSIVE_SIZE = Decimal("1.3")
REDUCTION = {FundMode.CRITICAL: Decimal("0.5"), FundMode.SAFE: Decimal("0.2")}
"""Share of every open position that is closed when the mode begins."""


def limits_of(mode: FundMode, normal: ModeLimits) -> ModeLimits:
    """Return what a mode allows where NORMAL allows `normal`; only AGGRESSIVE allows more."""
    match mode:
        case FundMode.NORMAL:
            return normal
        case FundMode.AGGRESSIVE:
            share = min(normal.signal_share * AGGRESSIVE_SHARE, 1.0)
            size = min(normal.size_factor * AGGRESSIVE_SIZE, Decimal(2))
            return replace(normal, signal_share=share, size_factor=size)
        case FundMode.SAFE:
            return normal.within(SAFE)
        case FundMode.CRITICAL:
            return normal.within(CRITICAL)


def limits_in(policy: FundPolicy) -> ModeLimits:
    """Return the limits of a policy; a DEFENSIVE system allows no more than the mode SAFE."""
    own = ModeLimits(
        signal_share=policy.signal_share,
        size_factor=policy.size_factor,
        max_positions=policy.max_positions,
        max_leverage=policy.max_leverage,
        max_slippage=policy.max_slippage,
        max_orders_per_minute=policy.max_orders_per_minute,
    )
    return own.within(SAFE) if policy.system_mode is SystemMode.DEFENSIVE else own


def with_limits(policy: FundPolicy, limits: ModeLimits) -> FundPolicy:
    """Return the policy with these limits."""
    return replace(
        policy,
        signal_share=limits.signal_share,
        size_factor=limits.size_factor,
        max_positions=limits.max_positions,
        max_leverage=limits.max_leverage,
        max_slippage=limits.max_slippage,
        max_orders_per_minute=limits.max_orders_per_minute,
    )
