"""Is a promoted model worse? The breaker that takes it back in its first day.

The rule of the system's earlier generation: within 24 hours of market time after the promotion,
from the tenth closed trade on, an average result below -0.3 R or fewer than 35 % winners sends it
back. Fewer trades say nothing, and then it stays. The verdict is a function of the trades alone,
not of when it is asked for: once bad, always bad.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class BreakerRule:
    """When a promoted model goes back."""

    window_ms: int = 24 * 3_600_000
    """Market time after the promotion in which it is watched."""
    least_trades: int = 10
    """Closed trades without which nothing is said."""
    least_average_r: Decimal = Decimal("-0.3")
    """An average result a trade below this, in multiples of its initial risk, is bad."""
    least_win_rate: Decimal = Decimal("0.35")
    """A smaller share of trades with a profit after costs is bad."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """A model that was put to work."""

    version: str
    effective_from: int
    """Market time in milliseconds from which it makes the signals."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A closed trade. Times are market time in milliseconds."""

    position_id: str
    model_version: str
    """Of the signal that opened it."""
    opened_at: int
    closed_at: int
    net_pnl: Decimal
    """After fees and funding."""
    r: Decimal | None
    """Result in multiples of the initial risk; None when that is not known."""


class Decision(StrEnum):
    """What is to be done with the promoted model."""

    WATCH = "WATCH"
    KEEP = "KEEP"
    ROLL_BACK = "ROLL_BACK"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision and the figures that it rests on."""

    decision: Decision
    trades: int
    win_rate: Decimal
    """Share of trades with a profit, 0 to 1; 0 without trades."""
    average_r: Decimal
    """Of the trades whose R is known; 0 without any."""
    reason: str = ""
    """Why it goes back; empty otherwise."""


def judge(
    promotion: Promotion, outcomes: Iterable[Outcome], now: int, rule: BreakerRule | None = None
) -> Verdict:
    """Return the verdict on a promotion at a market time.

    `outcomes` may hold trades of other models, repeated ones and later ones: they do not count.
    """
    limits = rule or BreakerRule()
    end = promotion.effective_from + limits.window_ms
    counted = _counted(promotion, outcomes, min(now, end))
    wins, known, total = 0, 0, Decimal(0)
    verdict = Verdict(Decision.WATCH, 0, Decimal(0), Decimal(0))
    for number, outcome in enumerate(counted, start=1):
        wins += outcome.net_pnl > 0
        if outcome.r is not None:
            known, total = known + 1, total + outcome.r
        win_rate = Decimal(wins) / number
        average = total / known if known else Decimal(0)
        reason = _reason(win_rate, average, limits) if number >= limits.least_trades else ""
        decision = Decision.ROLL_BACK if reason else Decision.WATCH
        verdict = Verdict(decision, number, win_rate, average, reason)
        if reason:
            return verdict
    if now < end:
        return verdict
    return Verdict(Decision.KEEP, verdict.trades, verdict.win_rate, verdict.average_r)


def _counted(promotion: Promotion, outcomes: Iterable[Outcome], until: int) -> list[Outcome]:
    """Return the promoted model's own trades, each once, in the order in which they closed."""
    found = {
        o.position_id: o
        for o in outcomes
        if o.model_version == promotion.version
        and o.opened_at >= promotion.effective_from
        and o.closed_at <= until
    }
    return sorted(found.values(), key=lambda o: (o.closed_at, o.position_id))


def _reason(win_rate: Decimal, average: Decimal, rule: BreakerRule) -> str:
    if average < rule.least_average_r:
        return f"average result {average:.2f} R is below {rule.least_average_r} R"
    if win_rate < rule.least_win_rate:
        return f"win rate {win_rate:.0%} is below {rule.least_win_rate:.0%}"
    return ""
