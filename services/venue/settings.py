"""Settings of the venue, read once in `__main__`."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from services.kit.settings import ProcessSettings


class VenueSettings(ProcessSettings):
    """What the paper venue needs to know beyond what every process does."""

    venue_market: str = "generated"
    """`generated`, `live`, or the path of a folder of recorded candles."""
    venue_seed: int = 7
    """Seed of the generated market and of every draw of the matching engine."""
    venue_speed: float = Field(default=1.0, ge=0)
    """Candle-minutes a second; an upper bound in lockstep. 0: as fast as answers come."""
    venue_pace: Literal["lockstep", "free"] = "lockstep"
    venue_listen: str = "127.0.0.1:0"
    """Where REST and WebSocket listen, host:port; port 0 takes a free one."""
    venue_journal: Path | None = None
    """SQLite file; in memory when unset."""
    venue_api_key: str = "paper-key"
    venue_api_secret: SecretStr = SecretStr("paper-secret")
    venue_balance: Decimal = Field(default=Decimal(10_000), gt=0)
    """USDT in the wallet of a new account."""
    venue_order_latency_ms: int = Field(default=0, ge=0)
    """Market time from decision to effect of an order."""
    venue_cancel_latency_ms: int = Field(default=0, ge=0)
    """Market time from decision to effect of a cancel."""
    venue_weight_limit: int = Field(default=2400, gt=0)
    """Request weight a minute; minutes of market time count too."""
    venue_order_limit_10s: int = Field(default=300, gt=0)
    venue_order_limit_1m: int = Field(default=1200, gt=0)

    @field_validator("venue_market")
    @classmethod
    def _market_exists(cls, value: str) -> str:
        if value not in ("generated", "live") and not Path(value).is_dir():
            raise ValueError(f"{value!r} is neither generated, live, nor a folder of candles")
        return value

    @field_validator("venue_listen")
    @classmethod
    def _listen_is_an_address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"{value!r} is not host:port")
        return value
