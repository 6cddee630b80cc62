"""PIL: what kind of position each open one is."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from services.analytics.core.fund.memory import Memory, volatility
from services.analytics.core.fund.view import FundView, Holding


class Kind(StrEnum):
    """Kinds of open positions, the worst first."""

    TOXIC = "TOXIC"
    REVERSAL_RISK = "REVERSAL_RISK"
    STALLING = "STALLING"
    NEUTRAL = "NEUTRAL"
    SLOW_GRINDER = "SLOW_GRINDER"
    STRONG_TREND = "STRONG_TREND"


_TOXIC_R, _TOXIC_HOURS = Decimal("-0.5"), Decimal("0.5")
_GIVEN_BACK = Decimal("0.5")
_STRONG_R, _STRONG_MOMENTUM = Decimal(1), Decimal("0.6")
_STALL_HOURS, _STALL_MOMENTUM = Decimal(1), Decimal("0.3")
_WILD = 2.0
_SHORT = 5


def momentum(holding: Holding, now: int) -> Decimal:
    """Return the profit in R by hours held: R / (h + 0.1)."""
    return holding.profit_r / (holding.hours(now) + Decimal("0.1"))


def classify(holding: Holding, memory: Memory, now: int) -> Kind:
    """Return the kind: the first that fits of toxic, reversing, strong, stalling, slow."""
    profit, speed = holding.profit_r, momentum(holding, now)
    if profit < _TOXIC_R and holding.hours(now) > _TOXIC_HOURS:
        return Kind.TOXIC
    if memory.seen(holding.position_id).peak_r - profit >= _GIVEN_BACK or _wild(holding, memory):
        return Kind.REVERSAL_RISK
    if profit >= _STRONG_R and speed >= _STRONG_MOMENTUM:
        return Kind.STRONG_TREND
    if holding.hours(now) > _STALL_HOURS and speed < _STALL_MOMENTUM:
        return Kind.STALLING
    return Kind.SLOW_GRINDER if profit > 0 else Kind.NEUTRAL


def classified(view: FundView, memory: Memory) -> dict[str, Kind]:
    """Return the kind of every open position, by its id."""
    return {h.position_id: classify(h, memory, view.time) for h in view.holdings}


def _wild(holding: Holding, memory: Memory) -> bool:
    closes = memory.closes.get(holding.symbol, ())
    usual = volatility(closes)
    return usual > 0 and volatility(closes, _SHORT) >= _WILD * usual
