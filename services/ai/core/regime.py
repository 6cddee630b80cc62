"""The regime of a market: where its leading symbol stands against its own average.

A function of the last bars alone, so that every replica and every restart comes to the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from services.ai.core.windows import Floats

BARS = 400
"""Bars that are read; the first of them weighs 2 % in the average."""
LEADER = "BTCUSDT"
"""The symbol that the others follow."""
EMA_BARS = 200
EDGE = 0.02
"""Distance from the average, as a fraction of it, beyond which there is a trend."""
_ATR_BARS = 14


class Regime(StrEnum):
    """What the market does."""

    UNKNOWN = "UNKNOWN"
    """The history is too short, has a gap, or holds what is no price."""
    UPTREND = "UPTREND"
    DOWNTREND = "DOWNTREND"
    SIDEWAYS = "SIDEWAYS"


@dataclass(frozen=True, slots=True)
class Reading:
    """Where the market stands at the end of a window."""

    regime: Regime
    deviation: float = 0.0
    """Close against the EMA over 200 bars, as a fraction of it."""
    atr_ratio: float = 0.0
    """Mean true range of the last 14 bars over that of the last 200; above 1 it is wilder."""


def read_regime(window: Floats | None) -> Reading:
    """Read a window [BARS, 5] of the leading symbol; UNKNOWN without a whole and sane one."""
    if window is None or len(window) < BARS or not sane(window):
        return Reading(Regime.UNKNOWN)
    prices = window[-BARS:].astype(np.float64)
    close = prices[:, 3]
    average = _ema(close)
    deviation = float(close[-1] / average - 1.0)
    ranges = true_ranges(prices)
    usual = float(ranges[-EMA_BARS:].mean())
    ratio = float(ranges[-_ATR_BARS:].mean()) / usual if usual > 0 else 0.0
    return Reading(_regime(deviation), deviation, ratio)


def sane(window: Floats) -> bool:
    """Tell whether a window holds candles: finite, positive, high and low around the rest."""
    return bool(sane_rows(window[None])[0])


def sane_rows(windows: Floats) -> npt.NDArray[np.bool_]:
    """Tell of each of [windows, bars, 5] whether it holds candles."""
    opens, highs, lows, closes, volumes = np.moveaxis(windows, 2, 0)
    # What is no number passes no comparison, and nothing lies above the infinite.
    fits = (lows > 0) & (highs >= np.maximum(opens, closes)) & (lows <= np.minimum(opens, closes))
    whole = fits & (volumes >= 0) & (highs < np.inf) & (volumes < np.inf)
    sound: npt.NDArray[np.bool_] = whole.all(axis=1)
    return sound


def true_ranges(prices: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the true range of every bar but the first, which has no close before it."""
    highs, lows, before = prices[1:, 1], prices[1:, 2], prices[:-1, 3]
    return np.maximum(highs, before) - np.minimum(lows, before)


def _ema(close: npt.NDArray[np.float64]) -> float:
    """Return the exponential mean over 200 bars that begins at the first close."""
    weight = 2.0 / (EMA_BARS + 1)
    weights = weight * (1.0 - weight) ** np.arange(len(close) - 1, -1, -1, dtype=np.float64)
    weights[0] /= weight
    return float(weights @ close)


def _regime(deviation: float) -> Regime:
    if deviation > EDGE:
        return Regime.UPTREND
    return Regime.DOWNTREND if deviation < -EDGE else Regime.SIDEWAYS
