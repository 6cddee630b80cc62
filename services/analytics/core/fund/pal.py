"""PAL: what is made of winners: profit taken, position enlarged, exit put off; each once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from services.analytics.core.fund.memory import Memory, volatility
from services.analytics.core.fund.pba import PbaLimits
from services.analytics.core.fund.pil import Kind, momentum
from services.analytics.core.fund.view import FundView, Holding
from services.trade.fund_policy import DirectiveAction, FundMode, FundPolicy

_HUNDRED = 100.0


@dataclass(frozen=True, slots=True)
class PalLimits:
    """Thresholds; profits in R, shares and drawdowns as fractions."""

    partial_r: Decimal = Decimal(2)
    partial_share: Decimal = Decimal("0.5")
    scale_r: Decimal = Decimal("1.5")
    scale_share: Decimal = Decimal("0.5")
    scale_drawdown: Decimal = Decimal("0.10")
    """Share of the best profit that may have been given back by a position that is enlarged."""
    scale_score: float = 60.0
    extend_r: Decimal = Decimal(1)
    extend_share: Decimal = Decimal("0.5")
    """Of the longest holding time."""
    extend_after: Decimal = Decimal("0.5")
    """Share of the longest holding time after which there is something to put off."""
    max_holding_ms: int = 60 * 60_000
    blocked_drawdown: Decimal = Decimal("0.15")
    """Share of the best profit given back from which nothing is made of a position any more."""
    budget: Decimal = Decimal("0.01")
    """Share of the capacity that must be free to add."""
    high_volatility: float = 0.015


@dataclass(frozen=True, slots=True)
class Amplification:
    """What is made of one winner, or what forbids it."""

    holding: Holding
    kind: Kind
    action: DirectiveAction
    share: Decimal
    score: float
    blocked_by: str
    reasons: tuple[str, ...]


def look(
    view: FundView,
    memory: Memory,
    kinds: Mapping[str, Kind],
    policy: FundPolicy,
    limits: PalLimits,
    portfolio: PbaLimits,
) -> tuple[Amplification, ...]:
    """Return what is made of each winner; one action a position and round."""
    found = (
        _of(holding, view, memory, kinds[holding.position_id], policy, limits, portfolio)
        for holding in view.holdings
    )
    return tuple(a for a in found if a is not None)


def given_back(holding: Holding, memory: Memory) -> Decimal:
    """Return the share of the best profit that a position has given back."""
    peak = max(memory.seen(holding.position_id).peak_r, holding.profit_r)
    return (peak - holding.profit_r) / peak if peak > 0 else Decimal(1)


def score(holding: Holding, view: FundView, memory: Memory, limits: PalLimits) -> float:
    """Return 0 to 100: profit 30, momentum 25, profit kept 20, rank among the open 15, calm 10."""
    best = min(float(holding.profit_r) / 3, 1.0)
    trend = min(float(momentum(holding, view.time)) / 3, 1.0)
    kept = 1.0 - min(float(given_back(holding, memory)) / float(limits.blocked_drawdown), 1.0)
    better = sum(h.profit_r > holding.profit_r for h in view.holdings)
    rank = 1.0 - better / len(view.holdings)
    wild = volatility(memory.closes.get(holding.symbol, ()))
    calm = 1.0 - min(wild / limits.high_volatility, 1.0)
    parts = ((best, 30), (trend, 25), (kept, 20), (rank, 15), (calm, 10))
    return min(sum(max(value, 0.0) * weight for value, weight in parts), _HUNDRED)


def _of(
    holding: Holding,
    view: FundView,
    memory: Memory,
    kind: Kind,
    policy: FundPolicy,
    limits: PalLimits,
    portfolio: PbaLimits,
) -> Amplification | None:
    points = score(holding, view, memory, limits)
    wanted = _wanted(holding, view, memory, limits, points)
    if wanted is None:
        return None
    action, share = wanted
    reasons = (
        f"profit is {holding.profit_r:.2f} R",
        f"{given_back(holding, memory):.2f} of the best is given back",
        f"score is {points:.0f}",
    )
    blocked = _blocked(holding, view, memory, kind, policy, limits, portfolio, action)
    return Amplification(holding, kind, action, share, points, blocked, reasons)


def _wanted(
    holding: Holding, view: FundView, memory: Memory, limits: PalLimits, points: float
) -> tuple[DirectiveAction, Decimal] | None:
    profit, done = holding.profit_r, memory.seen(holding.position_id).done
    back = given_back(holding, memory)
    late = view.time - holding.opened_time >= limits.extend_after * limits.max_holding_ms
    candidates = (
        (DirectiveAction.PARTIAL_TAKE_PROFIT, limits.partial_share, profit >= limits.partial_r),
        (
            DirectiveAction.SCALE_IN,
            limits.scale_share,
            profit >= limits.scale_r
            and back <= limits.scale_drawdown
            and points >= limits.scale_score,
        ),
        (DirectiveAction.EXTEND_HOLD, limits.extend_share, profit >= limits.extend_r and late),
    )
    for action, share, holds in candidates:
        if holds and action.value not in done:
            return action, share
    return None


def _blocked(
    holding: Holding,
    view: FundView,
    memory: Memory,
    kind: Kind,
    policy: FundPolicy,
    limits: PalLimits,
    portfolio: PbaLimits,
    action: DirectiveAction,
) -> str:
    """Return what forbids an action; taking profit is forbidden by nothing."""
    if action is DirectiveAction.PARTIAL_TAKE_PROFIT:
        return ""
    capacity = portfolio.capacity(view.equity)
    wild = volatility(memory.closes.get(holding.symbol, ())) >= limits.high_volatility
    checks = (
        ("brake", not policy.entries_allowed),
        ("reduced", policy.fund_mode is FundMode.SAFE),
        ("drawdown", given_back(holding, memory) > limits.blocked_drawdown),
        ("weak_trend", kind in (Kind.TOXIC, Kind.REVERSAL_RISK, Kind.STALLING)),
        ("volatility", wild),
        (
            "budget",
            action is DirectiveAction.SCALE_IN and capacity - view.gross < capacity * limits.budget,
        ),
    )
    return next((name for name, holds in checks if holds), "")
