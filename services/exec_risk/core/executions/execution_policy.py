"""How quantities are brought to the exchange: every threshold, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.trade.execution import ExecutionStrategy


@dataclass(frozen=True, slots=True)
class ExecutionPolicy:
    """Limits of executions. Shares are fractions, times milliseconds of market time."""

    entry_strategy: ExecutionStrategy = ExecutionStrategy.MARKET
    """Strategy of entries that a signal leads to."""
    market_impact: Decimal = Decimal("0.001")
    """SMART sends one market order below this expected impact,"""
    limit_impact: Decimal = Decimal("0.005")
    """limit orders up to this one, and slices above."""
    max_slippage: Decimal = Decimal("0.005")
    """Cap of what is paid on top of the reference price."""
    timeout_ms: int = 300_000
    """Time until an execution that was given none ends."""
    slices: int = 10
    max_slices: int = 50
    display_share: Decimal = Decimal("0.1")
    """Share of the quantity that ICEBERG shows."""
    reprice_ms: int = 15_000
    """Least time between two prices of a limit order."""
    reprice_ticks: int = 2
    """Ticks that the market must have moved away before a limit order follows it."""
    post_only_attempts: int = 5
    """Prices that a post-only order tries, each a tick further from the market."""
    backoff_ms: int = 1_000
    """Pause after the first retryable refusal; doubled with each further one."""
