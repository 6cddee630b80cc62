"""Settings of the fund level: which layers run, and what the first version of the policy says."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from services.analytics.core.fund.hfos import HfosLimits
from services.analytics.core.fund.memory import LONGEST_HOURS
from services.analytics.core.fund.pal import PalLimits
from services.analytics.core.fund.pba import PbaLimits
from services.analytics.core.fund.rounds import FundLimits
from services.kit.settings import ProcessSettings
from services.trade.clusters import parse
from services.trade.fund_modes import ModeLimits, limits_of, with_limits
from services.trade.fund_policy import FundMode, FundPolicy
from services.trade.times import MINUTE_MS, timeframe_ms

_MOST_POSITIONS = 100
_MOST_SLIPPAGE = Decimal("0.05")


def _share(value: object) -> object:
    if isinstance(value, str) and value.upper() in FundMode.__members__:
        return limits_of(FundMode[value.upper()], ModeLimits()).signal_share
    return value


class FundSettings(ProcessSettings):
    """The limits are read where they have their names in exec_risk and ai: one `.env` says both."""

    hfos_enabled: bool = False
    """True: the fund's mode is decided by itself, while the policy allows it."""
    pba_enabled: bool = False
    """True: the portfolio is balanced."""
    pal_enabled: bool = False
    """True: winners are amplified."""
    signal_share: Annotated[float, BeforeValidator(_share)] = Field(default=0.05, ge=0, le=1)
    """Share of candles that may become signals, or the name of a fund mode."""
    max_positions: int = Field(default=10, ge=1, le=200)
    max_leverage: int = Field(default=20, ge=1, le=125)
    max_slippage_percent: Decimal = Field(default=Decimal("0.5"), gt=0, le=10)
    max_orders_per_minute: int = Field(default=6, ge=1)
    max_portfolio_exposure_usd: Decimal = Field(default=Decimal(50_000), gt=0)
    default_leverage: int = Field(default=5, ge=1, le=125)
    max_net_exposure_percent: Decimal = Field(default=Decimal(80), gt=0, le=100)
    max_symbol_share_percent: Decimal = Field(default=Decimal(30), gt=0, le=100)
    max_cluster_share_percent: Decimal = Field(default=Decimal(40), gt=0, le=100)
    correlation_clusters: str = ""
    max_holding_minutes: int = Field(default=60, gt=0)
    timeframe: str = "1m"
    hfos_safe_drawdown_percent: Decimal = Field(default=Decimal(3), gt=0, le=100)
    """Drawdown above which the fund works in mode SAFE."""
    hfos_critical_drawdown_percent: Decimal = Field(default=Decimal(8), gt=0, le=100)
    """Drawdown from which the fund works in mode CRITICAL."""
    hfos_drawdown_hours: int = Field(default=24, ge=1, le=LONGEST_HOURS)
    """Market time that drawdown looks back."""
    hfos_relax_minutes: int = Field(default=15, ge=1)
    """Market time after which a mode gives way to the next milder one."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.hfos_safe_drawdown_percent > self.hfos_critical_drawdown_percent:
            raise ValueError("HFOS_SAFE_DRAWDOWN_PERCENT is above HFOS_CRITICAL_DRAWDOWN_PERCENT")
        parse(self.correlation_clusters)
        timeframe_ms(self.timeframe)
        return self

    @property
    def layers_enabled(self) -> bool:
        """True when any layer decides rounds."""
        return self.hfos_enabled or self.pba_enabled or self.pal_enabled

    @property
    def fund_limits(self) -> FundLimits:
        """Thresholds of the layers."""
        return FundLimits(
            hfos=HfosLimits(
                safe_drawdown=self.hfos_safe_drawdown_percent / 100,
                critical_drawdown=self.hfos_critical_drawdown_percent / 100,
                aggressive_drawdown=self.hfos_safe_drawdown_percent / 200,
                drawdown_hours=self.hfos_drawdown_hours,
                relax_ms=self.hfos_relax_minutes * MINUTE_MS,
            ),
            pba=PbaLimits(
                max_exposure_usd=self.max_portfolio_exposure_usd,
                leverage=self.default_leverage,
                symbol_share=self.max_symbol_share_percent / 100,
                sector_share=self.max_cluster_share_percent / 100,
                net_share=self.max_net_exposure_percent / 100,
                clusters=parse(self.correlation_clusters),
            ),
            pal=PalLimits(max_holding_ms=self.max_holding_minutes * MINUTE_MS),
            hfos_enabled=self.hfos_enabled,
            pba_enabled=self.pba_enabled,
            pal_enabled=self.pal_enabled,
            deadline_ms=3 * timeframe_ms(self.timeframe),
        )

    @property
    def first_policy(self) -> FundPolicy:
        """What the fund's policy says before anybody has decided otherwise."""
        limits = ModeLimits(
            signal_share=self.signal_share,
            max_positions=min(self.max_positions, _MOST_POSITIONS),
            max_leverage=self.max_leverage,
            max_slippage=min(self.max_slippage_percent / 100, _MOST_SLIPPAGE),
            max_orders_per_minute=self.max_orders_per_minute,
        )
        return with_limits(FundPolicy(), limits)
