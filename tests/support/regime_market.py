"""A market whose regime changes, written as a folder of recorded candles."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.trade.times import MINUTE_MS

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "LINKUSDT")
START = 1_746_057_600_000
"""2025-05-01, the first candle."""
_SEGMENT = 60
"""Candles after which the wild regime changes its mood."""
_HALF_WAVE = 15
_CALM, _WILD = 0.0003, 0.0012
"""Standard deviation of a candle's own noise, as a fraction of the price."""


def write(folder: Path, *, calm: int, wild: int, seed: int = 5) -> None:
    """Write so many candles of a calm walk, then so many of the wild regime.

    In the wild one, volume says whether the last quarter of an hour goes on or turns back: what a
    tree finds, a line does not, and a model of the calm market cannot know.
    """
    folder.mkdir(parents=True)
    for number, symbol in enumerate(SYMBOLS):
        random = np.random.default_rng(seed + number)
        drift, volume = _moods(random, wild)
        moves = np.concatenate(
            (random.normal(0, _CALM, calm), drift + random.normal(0, _WILD, wild))
        )
        volumes = np.concatenate((random.uniform(90, 110, calm), volume))
        save(folder, symbol, _bars(random, moves, calm), volumes)


def _moods(
    random: np.random.Generator, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the drift and the volume of each candle: trends on much of it, waves on little."""
    drift, volume = np.zeros(count), np.zeros(count)
    for begin in range(0, count, _SEGMENT):
        place = slice(begin, min(begin + _SEGMENT, count))
        length = place.stop - begin
        direction = 1.0 if random.random() < 0.5 else -1.0
        trends = random.random() < 0.5
        wave = np.where((np.arange(length) // _HALF_WAVE) % 2 == 0, 1.0, -1.0)
        drift[place] = _WILD * direction * (1.0 if trends else wave)
        volume[place] = random.uniform(0.9, 1.1, length) * (400.0 if trends else 50.0)
    return drift, volume


def _bars(
    random: np.random.Generator, moves: NDArray[np.float64], calm: int
) -> NDArray[np.float64]:
    closes = 100.0 * np.exp(np.cumsum(moves))
    opens = np.concatenate(([100.0], closes[:-1]))
    size = np.where(np.arange(len(moves)) < calm, _CALM, _WILD)
    wicks = np.abs(random.normal(0, 0.3, (2, len(moves)))) * size
    highs = np.maximum(opens, closes) * (1 + wicks[0])
    lows = np.minimum(opens, closes) * (1 - wicks[1])
    return np.round(np.stack((opens, highs, lows, closes), axis=1), 4)


def save(
    folder: Path, symbol: str, bars: NDArray[np.float64], volumes: NDArray[np.float64]
) -> None:
    """Write one symbol's candles: open, high, low, close a row, and the volumes."""
    lines = ["symbol,timeframe,open_time_ms,open,high,low,close,volume"]
    for number, (row, volume) in enumerate(zip(bars, volumes, strict=True)):
        prices = ",".join(f"{price:.4f}" for price in row)
        lines.append(f"{symbol},1m,{START + number * MINUTE_MS},{prices},{volume:.1f}")
    with gzip.open(folder / f"{symbol}_1m.csv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
