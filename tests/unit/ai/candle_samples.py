"""Candles and model outputs for tests of the core."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from services.ai.core.manifest import Manifest
from services.ai.core.outputs import ModelOutput
from services.trade.candle import Candle

MINUTE = 60_000
START = 1_900_000_020_000 // MINUTE * MINUTE


def candle(number: int = 0, symbol: str = "BTCUSDT", **changes: Any) -> Candle:
    """Return the candle `number` minutes after the start; its prices name its number."""
    values: dict[str, Any] = {
        "venue": "paper",
        "symbol": symbol,
        "timeframe": "1m",
        "open_time": START + number * MINUTE,
        "open": Decimal(100 + number),
        "high": Decimal(102 + number),
        "low": Decimal(99 + number),
        "close": Decimal(101 + number),
        "volume": Decimal(10),
    }
    return Candle(**(values | changes))


Probabilities = tuple[float, float, float]


def output(*models: Probabilities, valid: bool = True, atr: float = 0.001) -> ModelOutput:
    """Return what an artifact with equal weights says."""
    mean = tuple(sum(p[i] for p in models) / len(models) for i in range(3))
    return ModelOutput(valid, atr, (mean[0], mean[1], mean[2]), models)


def manifest(**changes: Any) -> Manifest:
    """Return a manifest of two models."""
    quantiles: Sequence[tuple[float, float]] = ((0.01, 0.6), (0.05, 0.5), (0.1, 0.45), (0.2, 0.4))
    values: dict[str, Any] = {
        "version": "test-1",
        "sha256": "0" * 64,
        "golden_sha256": "0" * 64,
        "models": ("lightgbm", "xgboost"),
        "weights": (0.5, 0.5),
        "feature_names": ("a", "b"),
        "window": 4,
        "timeframe": "1m",
        "horizon": 15,
        "trained_from": START - 1000 * MINUTE,
        "trained_to": START - 500 * MINUTE,
        "confidence_quantiles": tuple(quantiles),
        "metrics": {},
        "golden_tolerance": 1e-5,
    }
    return Manifest(**(values | changes))
