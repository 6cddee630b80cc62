"""Decimal prices to float32, the only place where money becomes binary: features and models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from services.trade.candle import Candle


def candle_row(candle: Candle) -> tuple[float, float, float, float, float]:
    """Return open, high, low, close, volume, each the double nearest to the decimal."""
    return (
        float(candle.open),
        float(candle.high),
        float(candle.low),
        float(candle.close),
        float(candle.volume),
    )


def candle_rows(candles: Sequence[Candle]) -> npt.NDArray[np.float32]:
    """Return [len(candles), 5] in the column order of `candle_row`, rounded once to float32."""
    return np.array([candle_row(c) for c in candles], dtype=np.float32).reshape(-1, 5)
