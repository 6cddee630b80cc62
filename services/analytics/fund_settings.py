"""Settings of the fund level: which layers run, and what the first version of the policy says."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

from services.kit.settings import ProcessSettings
from services.trade.fund_modes import ModeLimits, limits_of, with_limits
from services.trade.fund_policy import FundMode, FundPolicy

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
