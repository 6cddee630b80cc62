"""The limits of the risk rules and of sizing that go beyond the account's plain caps.

Names and numbers are those of the earlier system where it had them; where it contradicted itself
the choice is in docs/decisions/0011-risk-limits.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from services.trade.clusters import DEFAULT_CLUSTERS
from services.trade.times import MINUTE_MS


@dataclass(frozen=True, slots=True)
class RiskPolicy:
    """Limits as fractions unless said otherwise; times in milliseconds of market time."""

    max_net_share: Decimal = Decimal("0.80")
    """Net exposure in one direction, of the exposure that the account may have."""
    max_symbol_share: Decimal = Decimal("0.30")
    max_cluster_share: Decimal = Decimal("0.40")
    """One direction of a cluster of symbols that move together, of the same."""
    clusters: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_CLUSTERS))
    """Cluster by symbol."""
    max_trades_per_day: int = 200
    """Positions opened in a UTC day."""
    max_orders_per_minute: int = 6
    """Entries decided within 60 s."""
    max_symbol_losses: int = 6
    """Losses of a symbol in a row in a UTC day, after which it rests until the day ends."""
    max_execution_errors: int = 5
    execution_errors_ms: int = 15 * MINUTE_MS
    emergency_drawdown: Decimal = Decimal("0.15")
    """Lost fraction of the highest equity at which the emergency stop pulls itself."""
    warn_funding: Decimal = Decimal("0.0005")
    max_funding: Decimal = Decimal("0.0010")
    """Funding rate of a settlement that the entry's side would pay."""
    max_spread: Decimal = Decimal("0.002")
    max_volatility: Decimal = Decimal("0.05")
    """Average true range of a candle as a fraction of price."""
    liquidation_factor: Decimal = Decimal("1.5")
    """How many times as far as the stop liquidation must be."""
    kelly_fraction: Decimal = Decimal("0.25")
    kelly_min_trades: int = 20
    kelly_window: int = 100
    """Closed trades that the fraction is computed from."""
    cold_start_share: Decimal = Decimal("0.25")
    """Share of RISK_PER_TRADE that is risked before results speak, and when they speak against."""
    volatility_target: Decimal = Decimal("0.005")
    """Most that a candle's average true range may move the equity through one position."""
    cautious_drawdown: Decimal = Decimal("0.05")
    defensive_drawdown: Decimal = Decimal("0.08")
    """The day's loss from which the account is CAUTIOUS, and DEFENSIVE."""
    cautious_losses: int = 5
    emergency_losses: int = 8
    """Losses in a row from which the account is CAUTIOUS, and closed to entries for a while."""
    relax_ms: int = 15 * MINUTE_MS
    """How long a safety level lasts at least before it gives way to the next milder one."""
