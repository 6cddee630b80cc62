"""HFOS: which mode the fund works in, from drawdown, health, volatility and results.

A stricter mode begins at once. It gives way one mode at a time, each after `relax_ms` of market
time in which the numbers asked for nothing as strict; to relax, they must lie below their
threshold by a margin, so that a number at its threshold does not toggle the mode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from services.analytics.core.fund.memory import Memory, volatility
from services.analytics.core.fund.view import FundView
from services.trade.fund_policy import FundMode, FundPolicy
from services.trade.times import MINUTE_MS

CAUTION = (FundMode.AGGRESSIVE, FundMode.NORMAL, FundMode.SAFE, FundMode.CRITICAL)
"""Modes, the least careful first."""


@dataclass(frozen=True, slots=True)
class HfosLimits:
    """Thresholds; fractions unless said otherwise. The earlier system's where it had them."""

    safe_drawdown: Decimal = Decimal("0.03")
    critical_drawdown: Decimal = Decimal("0.08")
    aggressive_drawdown: Decimal = Decimal("0.015")
    """Below it an aggressive fund is allowed."""
    safe_health: int = 70
    """Below it the system is degraded,"""
    critical_health: int = 30
    """and below this it is an emergency."""
    aggressive_health: int = 90
    safe_losses: int = 5
    critical_losses: int = 8
    safe_volatility: float = 0.015
    """Mean absolute change of a candle's close, over all symbols."""
    critical_volatility: float = 0.03
    aggressive_trades: int = 20
    """Trades of a day, with a profit together, before results speak for more risk."""
    aggressive_slots: Decimal = Decimal("0.8")
    """Share of the positions that may be open at most."""
    relax: Decimal = Decimal("0.8")
    """Share of a threshold below which a number asks for relaxing."""
    relax_ms: int = 15 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class ModeDecision:
    """The mode to work in, and why."""

    mode: FundMode
    reasons: tuple[str, ...]
    relaxes: bool = False
    """True when a stricter mode gives way to this one."""


def decide(
    view: FundView, memory: Memory, policy: FundPolicy, limits: HfosLimits
) -> tuple[ModeDecision | None, Memory]:
    """Return the change of mode that a round asks for, None for none, and what to remember."""
    asked, reasons = _asked(view, memory, policy, limits, Decimal(1))
    current = policy.fund_mode
    if _rank(asked) > _rank(current):
        kept = replace(memory, asked_mode=asked.value, asked_since=view.time)
        return ModeDecision(asked, reasons), kept
    calm, why = _asked(view, memory, policy, limits, limits.relax)
    if _rank(calm) >= _rank(current):
        return None, replace(memory, asked_mode=current.value, asked_since=view.time)
    since = memory.asked_since or view.time
    if view.time - since < limits.relax_ms:
        return None, replace(memory, asked_mode=calm.value, asked_since=since)
    milder = CAUTION[_rank(current) - 1]
    lasted = f"{current} has lasted its {limits.relax_ms} ms"
    kept = replace(memory, asked_mode=milder.value, asked_since=view.time)
    return ModeDecision(milder, (lasted, *why), relaxes=True), kept


def _rank(mode: FundMode) -> int:
    return CAUTION.index(mode)


def _asked(
    view: FundView, memory: Memory, policy: FundPolicy, limits: HfosLimits, scale: Decimal
) -> tuple[FundMode, tuple[str, ...]]:
    """Return the mode that the numbers ask for; `scale` moves the thresholds of caution."""
    drawdown = memory.drawdown(view.equity)
    wild = _mean_volatility(memory)
    losses = view.losses_in_a_row
    by = f"drawdown of the day is {drawdown:.4f}"
    shakes = f"closes change by {wild:.4f} on average"
    row = f"{losses} losses in a row"
    well = f"health is {view.health}"
    critical = _held(
        (by, drawdown >= limits.critical_drawdown * scale),
        (well, view.health < limits.critical_health),
        (row, losses >= limits.critical_losses),
        (shakes, wild >= limits.critical_volatility * float(scale)),
    )
    if critical:
        return FundMode.CRITICAL, critical
    safe = _held(
        (by, drawdown > limits.safe_drawdown * scale),
        (well, view.health < limits.safe_health),
        (row, losses >= limits.safe_losses),
        (shakes, wild >= limits.safe_volatility * float(scale)),
    )
    if safe:
        return FundMode.SAFE, safe
    earned = view.trades >= limits.aggressive_trades and view.net > 0
    free = len(view.holdings) < limits.aggressive_slots * policy.max_positions
    if (
        earned
        and free
        and drawdown < limits.aggressive_drawdown * scale
        and view.health >= limits.aggressive_health
    ):
        return FundMode.AGGRESSIVE, (by, well, f"{view.trades} trades made {view.net:.2f} USD")
    return FundMode.NORMAL, (by, well, row, shakes)


def _held(*checks: tuple[str, bool]) -> tuple[str, ...]:
    return tuple(reason for reason, holds in checks if holds)


def _mean_volatility(memory: Memory) -> float:
    found = [v for v in (volatility(c) for c in memory.closes.values()) if v > 0]
    return sum(found) / len(found) if found else 0.0
