"""Candles of a seeded random walk: prices to put through the pipes, nothing to learn from."""

from __future__ import annotations

import random
from decimal import Decimal

from services.trade.candle import Candle
from services.trade.times import MINUTE_MS

START = 1_746_057_600_000
"""2025-05-01 00:00 UTC."""
_CENT = Decimal("0.01")


def rounds(symbols: list[str], count: int, seed: int) -> list[list[Candle]]:
    """Return `count` rounds of one-minute candles, each with every symbol."""
    chance = random.Random(seed)  # noqa: S311 - a market, not a secret
    last = {symbol: Decimal(100) for symbol in symbols}
    table = []
    for number in range(count):
        bars = []
        for symbol in symbols:
            close = max(_CENT, (last[symbol] * _factor(chance)).quantize(_CENT))
            prices = (last[symbol], close)
            bars.append(
                Candle(
                    venue="paper",
                    symbol=symbol,
                    timeframe="1m",
                    open_time=START + number * MINUTE_MS,
                    open=prices[0],
                    high=(max(prices) * Decimal("1.0005")).quantize(_CENT) + _CENT,
                    low=max(_CENT, (min(prices) * Decimal("0.9995")).quantize(_CENT)),
                    close=close,
                    volume=Decimal(chance.randrange(10, 1_000)),
                )
            )
            last[symbol] = close
        table.append(bars)
    return table


def _factor(chance: random.Random) -> Decimal:
    return Decimal(str(round(1 + chance.gauss(0, 0.001), 6)))
