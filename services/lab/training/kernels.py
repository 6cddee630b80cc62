"""Linear indicators as weight vectors over a window.

Each function returns float64 weights. They are made by running the indicator's own recursion
(with TA-Lib's seeding) on the identity matrix, so that one MatMul equals the recursion.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]


def lag(length: int, bars: int) -> Weights:
    """Value `bars` before the last one."""
    weights = np.zeros(length)
    weights[length - 1 - bars] = 1.0
    return weights


def mean(length: int, bars: int) -> Weights:
    """Mean of the last `bars` values."""
    weights = np.zeros(length)
    weights[length - bars :] = 1.0 / bars
    return weights


def ema(length: int, period: int) -> Weights:
    """Exponential mean, seeded with the mean of the first `period` values."""
    last: Weights = ema_path(length, period)[-1]
    return last


def ema_path(length: int, period: int) -> Weights:
    """Exponential mean at each bar from `period - 1` on: [length - period + 1, length]."""
    return _path(length, period, 2.0 / (period + 1))


def wilder(length: int, period: int) -> Weights:
    """Wilder's mean, seeded with the mean of the first `period` values."""
    last: Weights = wilder_path(length, period)[-1]
    return last


def wilder_path(length: int, period: int) -> Weights:
    """Wilder's mean at each bar from `period - 1` on: [length - period + 1, length]."""
    return _path(length, period, 1.0 / period)


def macd_histogram(length: int, fast: int = 12, slow: int = 26, signal: int = 9) -> Weights:
    """MACD line minus its signal line."""
    offset = slow - fast
    line = ema_path(length, fast)[offset:] - ema_path(length, slow)
    smoothed = ema(line.shape[0], signal) @ line
    weights: Weights = line[-1] - smoothed
    return weights


def _path(length: int, period: int, alpha: float) -> Weights:
    basis = np.eye(length)
    value = basis[:period].mean(axis=0)
    rows = [value]
    for row in basis[period:]:
        value = value + alpha * (row - value)
        rows.append(value)
    return np.stack(rows)
