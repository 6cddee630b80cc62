"""SMART: the strategy by the expected impact, and how large the impact of one order then is."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core.executions.execution_policy import ExecutionPolicy
from services.trade.execution import ExecutionStrategy

_SLICED = (ExecutionStrategy.TWAP, ExecutionStrategy.VWAP)


def chosen(
    strategy: ExecutionStrategy, impact: Decimal | None, policy: ExecutionPolicy
) -> ExecutionStrategy:
    """Return the strategy to follow; SMART becomes what the impact asks for.

    One market order below 0.1 %, limit orders to 0.5 %, slices by volume above. An impact that is
    not known is taken for a small one: only exits get here with it.
    """
    if strategy is not ExecutionStrategy.SMART:
        return strategy
    if impact is None or impact < policy.market_impact:
        return ExecutionStrategy.MARKET
    if impact <= policy.limit_impact:
        return ExecutionStrategy.LIMIT
    return ExecutionStrategy.VWAP


def slices_for(impact: Decimal | None, cap: Decimal, policy: ExecutionPolicy) -> int:
    """Return into how many parts a quantity goes so that each one's impact stays in the cap.

    By the square-root law a part of 1/n has an impact smaller by sqrt(n).
    """
    if impact is None or cap <= 0:
        return policy.slices
    needed = int(((impact / cap) ** 2).to_integral_value(rounding="ROUND_CEILING"))
    return min(max(policy.slices, needed), policy.max_slices)


def impact_of_one(
    strategy: ExecutionStrategy, impact: Decimal, cap: Decimal, policy: ExecutionPolicy
) -> Decimal:
    """Return the expected impact of the largest order that a strategy sends."""
    followed = chosen(strategy, impact, policy)
    if followed in _SLICED:
        return impact / Decimal(slices_for(impact, cap, policy)).sqrt()
    if followed is ExecutionStrategy.ICEBERG:
        return impact * policy.display_share.sqrt()
    return impact
