"""Bars as whole numbers: compact in memory, exact as decimals."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from services.trade.candle import Candle
from services.venue.markets.market import VENUE

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bars:
    """Consecutive bars of one symbol: columns open, high, low, close, volume, scaled."""

    symbol: str
    timeframe: str
    interval: int
    """Length of a bar in milliseconds."""
    first_open: int
    price_decimals: int
    volume_decimals: int
    values: Ints

    def __len__(self) -> int:
        return len(self.values)

    def candle(self, open_time: int) -> Candle | None:
        """Return the bar that opens at a time; None outside."""
        place, rest = divmod(open_time - self.first_open, self.interval)
        if rest or not 0 <= place < len(self.values):
            return None
        row = self.values[place].tolist()
        prices = [Decimal(value).scaleb(-self.price_decimals) for value in row[:4]]
        volume = Decimal(row[4]).scaleb(-self.volume_decimals)
        return Candle(
            VENUE,
            self.symbol,
            self.timeframe,
            open_time,
            prices[0],
            prices[1],
            prices[2],
            prices[3],
            volume,
        )


def scaled(values: npt.NDArray[np.float64], decimals: int) -> Ints:
    """Return the values as whole numbers of 10^-decimals."""
    return np.rint(values * 10.0**decimals).astype(np.int64)


def decimals_of(values: npt.NDArray[np.float64], most: int = 8) -> int:
    """Return how many decimals the values need."""
    for decimals in range(most):
        shifted = values * 10.0**decimals
        if np.all(np.abs(shifted - np.rint(shifted)) <= 1e-6 * np.maximum(1.0, shifted * 1e-6)):
            return decimals
    return most
