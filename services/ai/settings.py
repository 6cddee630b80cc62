"""Settings of the ai service; the environment name of each is the field's, in upper case."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from services.ai.core.ensemble import SHARES
from services.kit.settings import ProcessSettings

SHIPPED_MODELS = Path(__file__).parent / "models"


def _none_when_empty(value: object) -> object:
    return None if value == "" else value


def _share(value: object) -> object:
    return SHARES.get(value.upper(), value) if isinstance(value, str) else value


class Settings(ProcessSettings):
    """What the ai service needs to know."""

    models_dir: Path = SHIPPED_MODELS
    """Folder of artifacts: one folder a version, and `ACTIVE`, which names the one to load."""
    ai_batch_size: int = Field(default=32, ge=1, le=1000)
    """Most candles that are taken from the queue and predicted together."""
    ai_num_workers: int = Field(default=1, ge=1, le=64)
    """Threads that run the models; one is enough for 20,000 candles a second."""
    ai_cache_size: int = Field(default=1000, ge=1)
    """Most series (symbol and timeframe) whose last prediction is kept for reads."""
    universe_scan_enabled: bool = True
    """Rank the symbols by what they promise."""
    universe_scan_interval_seconds: int = Field(default=300, ge=1)
    """Market time from one ranking to the next."""
    top_opportunities: int = Field(default=20, ge=1, le=1000)
    """Symbols of a ranking that are kept and told."""
    signal_share: Annotated[float, BeforeValidator(_share)] = Field(default=0.05, ge=0, le=1)
    """Share of candles that may become signals, by the artifact's out-of-sample quantiles, or
    the name of a safety level: NORMAL, AGGRESSIVE, SAFE, CRITICAL."""
    signal_ttl_seconds: int = Field(default=300, ge=1)
    """Market time after a candle's close until its signal expires."""
    min_confidence_threshold: Annotated[
        Annotated[float, Field(ge=0, le=1)] | None, BeforeValidator(_none_when_empty)
    ] = None
    """Absolute least confidence besides the share; no floor when not set."""
