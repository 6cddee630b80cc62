"""Generated candles for tests of training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.lab.training.data import HEADER, Series


def generated_series(length: int, *, seed: int = 3, symbol: str = "AAAUSDT") -> Series:
    """Return a random walk with changing volatility, on a tick of 0.01, one minute a bar."""
    random = np.random.default_rng(seed)
    wildness = 0.001 * np.exp(np.cumsum(random.normal(0, 0.02, length)).clip(-1, 1))
    close = 100 * np.exp(np.cumsum(random.normal(0, 1, length) * wildness))
    opened = np.concatenate([[100.0], close[:-1]])
    high = np.maximum(opened, close) * (1 + abs(random.normal(0, 0.3, length)) * wildness)
    low = np.minimum(opened, close) * (1 - abs(random.normal(0, 0.3, length)) * wildness)
    bars = np.stack([opened, high, low, close], axis=1).round(2)
    bars = np.concatenate([bars, random.lognormal(3, 1, (length, 1)).round(3)], axis=1)
    times = 1_700_000_040_000 + 60_000 * np.arange(length, dtype=np.int64)
    return Series(symbol, "1m", times, bars)


def write_csv(series: Series, path: Path) -> Path:
    """Write candles in the format of the recorded data."""
    lines = [HEADER]
    for time, bar in zip(series.times, series.bars, strict=True):
        numbers = ",".join(f"{x:.10g}" for x in bar)
        lines.append(f"{series.symbol},{series.timeframe},{time},{numbers}")
    path.write_text("\n".join(lines) + "\n")
    return path
