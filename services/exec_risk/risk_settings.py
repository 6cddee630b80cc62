"""Settings of the risk rules and of sizing."""

from __future__ import annotations

from decimal import Decimal
from typing import Self

from pydantic import Field, model_validator

from services.exec_risk.core.risk.risk_policy import RiskPolicy
from services.kit.settings import ProcessSettings
from services.trade.clusters import parse
from services.trade.times import MINUTE_MS

PERCENT = Decimal(100)


class RiskSettings(ProcessSettings):
    """Limits of the account; what is a percentage says so in its name."""

    max_net_exposure_percent: Decimal = Field(default=Decimal(80), gt=0, le=100)
    max_symbol_share_percent: Decimal = Field(default=Decimal(30), gt=0, le=100)
    max_cluster_share_percent: Decimal = Field(default=Decimal(40), gt=0, le=100)
    correlation_clusters: str = ""
    """name=SYMBOL,SYMBOL;name=SYMBOL; empty: the built-in table."""
    max_trades_per_day: int = Field(default=200, ge=1)
    max_orders_per_minute: int = Field(default=6, ge=1)
    max_symbol_losses: int = Field(default=6, ge=1)
    max_execution_errors: int = Field(default=5, ge=1)
    emergency_stop_threshold_percent: Decimal = Field(default=Decimal(15), gt=0, le=100)
    warn_funding_percent: Decimal = Field(default=Decimal("0.05"), ge=0)
    max_funding_percent: Decimal = Field(default=Decimal("0.10"), gt=0)
    max_spread_percent: Decimal = Field(default=Decimal("0.2"), gt=0)
    max_volatility_percent: Decimal = Field(default=Decimal(5), gt=0)
    liquidation_stop_factor: Decimal = Field(default=Decimal("1.5"), ge=1)
    kelly_fraction: Decimal = Field(default=Decimal("0.25"), gt=0, le=1)
    kelly_min_trades: int = Field(default=20, ge=1, le=200)
    kelly_window: int = Field(default=100, ge=1, le=200)
    cold_start_share: Decimal = Field(default=Decimal("0.25"), gt=0, le=1)
    volatility_target_percent: Decimal = Field(default=Decimal("0.5"), gt=0)
    cautious_drawdown_percent: Decimal = Field(default=Decimal(5), gt=0, le=100)
    defensive_drawdown_percent: Decimal = Field(default=Decimal(8), gt=0, le=100)
    cautious_losses_in_a_row: int = Field(default=5, ge=1)
    emergency_losses_in_a_row: int = Field(default=8, ge=1)
    safety_relax_minutes: int = Field(default=15, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.kelly_min_trades > self.kelly_window:
            raise ValueError("KELLY_MIN_TRADES is above KELLY_WINDOW: it would never be reached")
        if self.cautious_drawdown_percent > self.defensive_drawdown_percent:
            raise ValueError("CAUTIOUS_DRAWDOWN_PERCENT is above DEFENSIVE_DRAWDOWN_PERCENT")
        if self.cautious_losses_in_a_row > self.emergency_losses_in_a_row:
            raise ValueError("CAUTIOUS_LOSSES_IN_A_ROW is above EMERGENCY_LOSSES_IN_A_ROW")
        if self.warn_funding_percent > self.max_funding_percent:
            raise ValueError("WARN_FUNDING_PERCENT is above MAX_FUNDING_PERCENT")
        parse(self.correlation_clusters)
        return self

    def risk(self) -> RiskPolicy:
        """Return the limits as the core takes them."""
        return RiskPolicy(
            max_net_share=self.max_net_exposure_percent / PERCENT,
            max_symbol_share=self.max_symbol_share_percent / PERCENT,
            max_cluster_share=self.max_cluster_share_percent / PERCENT,
            clusters=parse(self.correlation_clusters),
            max_trades_per_day=self.max_trades_per_day,
            max_orders_per_minute=self.max_orders_per_minute,
            max_symbol_losses=self.max_symbol_losses,
            max_execution_errors=self.max_execution_errors,
            emergency_drawdown=self.emergency_stop_threshold_percent / PERCENT,
            warn_funding=self.warn_funding_percent / PERCENT,
            max_funding=self.max_funding_percent / PERCENT,
            max_spread=self.max_spread_percent / PERCENT,
            max_volatility=self.max_volatility_percent / PERCENT,
            liquidation_factor=self.liquidation_stop_factor,
            kelly_fraction=self.kelly_fraction,
            kelly_min_trades=self.kelly_min_trades,
            kelly_window=self.kelly_window,
            cold_start_share=self.cold_start_share,
            volatility_target=self.volatility_target_percent / PERCENT,
            cautious_drawdown=self.cautious_drawdown_percent / PERCENT,
            defensive_drawdown=self.defensive_drawdown_percent / PERCENT,
            cautious_losses=self.cautious_losses_in_a_row,
            emergency_losses=self.emergency_losses_in_a_row,
            relax_ms=self.safety_relax_minutes * MINUTE_MS,
        )
