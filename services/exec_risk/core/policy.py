"""What the account is allowed to do: every limit, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.exec_risk.core.executions.execution_policy import ExecutionPolicy
from services.exec_risk.core.protection.protection_policy import ProtectionPolicy
from services.exec_risk.core.risk.risk_policy import RiskPolicy
from services.trade.filters import SymbolFilters
from services.trade.times import MINUTE_MS


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits and switches that hold for the account. Times in milliseconds of market time."""

    account: str = "main"
    venue: str = "paper"
    timeframe: str = "1m"
    trading_enabled: bool = True
    fund_required: bool = False
    """True: no entries before a version of the fund's policy holds."""
    venue_ready: bool = True
    """False where the venue is chosen without what it needs, for example live without keys."""
    max_leverage: int = 20
    leverage: int = 5
    """Leverage that entries use; never above the effective cap."""
    max_position_usd: Decimal = Decimal(10_000)
    max_exposure_usd: Decimal = Decimal(50_000)
    max_positions: int = 10
    max_daily_drawdown: Decimal = Decimal("0.10")
    """Fraction of the equity at the start of the UTC day."""
    min_confidence: float | None = None
    cooldown_ms: int = 180_000
    max_price_age_ms: int = 5 * MINUTE_MS
    risk_per_trade: Decimal = Decimal("0.01")
    """Fraction of equity lost when the stop fills, at full confidence."""
    margin_share: Decimal = Decimal("0.9")
    """Share of the equity that margins together may take."""
    protection: ProtectionPolicy = field(default_factory=ProtectionPolicy)
    taker_fee: Decimal = Decimal("0.0005")
    max_slippage: Decimal = Decimal("0.001")
    retry_attempts: int = 3
    risk: RiskPolicy = field(default_factory=RiskPolicy)
    execution: ExecutionPolicy = field(default_factory=ExecutionPolicy)
    adopt_positions: bool = True
    """True: a position of the exchange that is not ours is protected; False: it is closed."""
    cancel_foreign_orders: bool = False
    """True: a resting order that is not ours is cancelled; False: it is told."""

    def leverage_cap(self, filters: SymbolFilters | None) -> int:
        """Return the one effective cap: the least of all its sources."""
        caps = [self.max_leverage]
        if filters is not None:
            caps.append(filters.max_leverage)
        return min(caps)

    def entry_leverage(self, filters: SymbolFilters | None) -> int:
        """Return the leverage that an entry uses."""
        return min(self.leverage, self.leverage_cap(filters))

    @property
    def quotes_needed(self) -> bool:
        """True where the exchange tells bid, ask and funding, so that not knowing them refuses."""
        return self.venue != "paper"

    @property
    def round_trip_cost(self) -> Decimal:
        """Fraction of the notional that entering and leaving costs."""
        return 2 * self.taker_fee + self.max_slippage


@dataclass(frozen=True, slots=True)
class Gates:
    """Switches of the process that stop entries."""

    draining: bool = False
    maintenance: bool = False
    store_away: bool = False
    """True while PostgreSQL does not take what was decided."""
    exchange_away: bool = False
    """True while the exchange does not prove that it answers, whatever its events last told."""
    policy_away: bool = False
    """True while a newer fund policy could not reach this process."""
    core_error: str = ""
    """What went wrong inside the core; empty while nothing did."""
