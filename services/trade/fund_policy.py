"""The fund's policy: what analytics decides and ai and exec_risk hold to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum


class SystemMode(StrEnum):
    """How the whole system works now."""

    NORMAL = "NORMAL"
    DEFENSIVE = "DEFENSIVE"
    EMERGENCY = "EMERGENCY"
    MAINTENANCE = "MAINTENANCE"


class FundMode(StrEnum):
    """How much risk the fund takes."""

    SAFE = "SAFE"
    NORMAL = "NORMAL"
    AGGRESSIVE = "AGGRESSIVE"
    CRITICAL = "CRITICAL"


class Layer(StrEnum):
    """Who decides."""

    SELF_HEALING = "SELF_HEALING"
    RISK = "RISK"
    HFOS = "HFOS"
    PBA = "PBA"
    PAL = "PAL"
    OPERATOR = "OPERATOR"


class DirectiveAction(StrEnum):
    """What a directive asks for."""

    REDUCE = "REDUCE"
    CLOSE = "CLOSE"
    SCALE_IN = "SCALE_IN"
    PARTIAL_TAKE_PROFIT = "PARTIAL_TAKE_PROFIT"
    EXTEND_HOLD = "EXTEND_HOLD"


PRECEDENCE = (Layer.SELF_HEALING, Layer.RISK, Layer.HFOS, Layer.PBA, Layer.PAL)
"""Where two layers contradict each other, the earlier one wins."""


@dataclass(frozen=True, slots=True)
class FundPolicy:
    """One version of the policy. The account's own limits hold besides; the strictest wins."""

    version: int = 1
    effective_from: int = 1000
    """Market time from which it holds, in milliseconds since 1970."""
    system_mode: SystemMode = SystemMode.NORMAL
    fund_mode: FundMode = FundMode.NORMAL
    signal_share: float = 0.05
    """Share of candles that may become signals; 0 means none."""
    size_factor: Decimal = Decimal(1)
    """Factor on the size of an entry; it never lifts a limit."""
    max_positions: int = 10
    max_leverage: int = 20
    max_slippage: Decimal = Decimal("0.005")
    """Fraction of the price."""
    max_orders_per_minute: int = 6
    blocked_symbols: frozenset[str] = frozenset()
    """Symbols that may not be entered."""
    model_weights: Mapping[str, float] = field(default_factory=dict)
    """Share of each model in the ensemble; empty means the artifact's own."""
    hfos_enabled: bool = True
    pba_enabled: bool = True
    pal_enabled: bool = True
    clm_enabled: bool = True

    @property
    def entries_allowed(self) -> bool:
        """False in a mode that makes no entries."""
        return (
            self.system_mode in (SystemMode.NORMAL, SystemMode.DEFENSIVE)
            and self.fund_mode is not FundMode.CRITICAL
        )

    def broken_rules(self) -> tuple[tuple[str, str], ...]:
        """Return (field, rule) for each rule that the values break; none for a valid policy."""
        weights = tuple(self.model_weights.values())
        checks = (
            ("version", "is at least 1", self.version >= 1),
            ("effective_from", "is a time after 1970", self.effective_from >= 1000),
            ("signal_share", "lies from 0 to 1", 0 <= self.signal_share <= 1),
            ("size_factor", "lies from 0 to 2", 0 <= self.size_factor <= 2),
            ("max_positions", "lies from 0 to 100", 0 <= self.max_positions <= 100),
            ("max_leverage", "lies from 1 to 125", 1 <= self.max_leverage <= 125),
            ("max_slippage", "lies above 0, to 0.05", 0 < self.max_slippage <= Decimal("0.05")),
            ("max_orders_per_minute", "is not negative", self.max_orders_per_minute >= 0),
            (
                "model_weights",
                "are from 0 to 1 each and 1 in all",
                not weights
                or (all(0 <= w <= 1 for w in weights) and abs(sum(weights) - 1) <= 1e-6),
            ),
        )
        return tuple((name, rule) for name, rule, holds in checks if not holds)


@dataclass(frozen=True, slots=True)
class Directive:
    """Analytics asks for a change of one open position. Times are market time in milliseconds."""

    directive_id: str
    account: str
    layer: Layer
    action: DirectiveAction
    symbol: str
    position_id: str
    share: Decimal
    """Share of the position's quantity, above 0 and at most 1."""
    reasons: tuple[str, ...]
    decided_at: int
    effective_from: int
    deadline: int
    """Time after which it must not be applied any more."""
