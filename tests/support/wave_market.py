"""A market that comes back, written as a folder of recorded candles: whoever waits, earns."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support import regime_market

SYMBOLS = regime_market.SYMBOLS
_PERIOD = 40
"""Candles of a whole wave."""
_AMPLITUDE = 0.012
_NOISE = 0.0002


def write(folder: Path, *, candles: int, seed: int = 3) -> None:
    """Write waves of 1.2 % to either side of a price, each symbol's in a phase of its own.

    A target nearer than that and a stop beyond the whole wave make nearly every trade a gain,
    whatever the models say.
    """
    folder.mkdir(parents=True)
    for number, symbol in enumerate(SYMBOLS):
        random = np.random.default_rng(seed + number)
        phase = 2 * np.pi * (np.arange(candles) / _PERIOD + number / len(SYMBOLS))
        level = _AMPLITUDE * np.sin(phase) + random.normal(0, _NOISE, candles)
        closes = 100.0 * np.exp(level)
        opens = np.concatenate((closes[:1], closes[:-1]))
        wicks = 1 + np.abs(random.normal(0, _NOISE, (2, candles)))
        highs = np.maximum(opens, closes) * wicks[0]
        lows = np.minimum(opens, closes) / wicks[1]
        bars = np.round(np.stack((opens, highs, lows, closes), axis=1), 4)
        regime_market.save(folder, symbol, bars, random.uniform(90, 110, candles))
