"""Candles: closed bars of one symbol."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.trade.times import timeframe_ms


@dataclass(frozen=True, slots=True)
class Candle:
    """One closed bar. Prices in the quote asset, volume in the base asset, times market time."""

    venue: str
    symbol: str
    timeframe: str
    open_time: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    def __post_init__(self) -> None:
        if not (0 < self.low <= self.open and self.low <= self.close):
            raise ValueError(f"{self.key}: low {self.low} is not the lowest positive price")
        if self.high < self.open or self.high < self.close:
            raise ValueError(f"{self.key}: high {self.high} is not the highest price")
        if self.volume < 0:
            raise ValueError(f"{self.key}: volume {self.volume} is negative")

    @property
    def close_time(self) -> int:
        """Market time at which the bar ends: its round."""
        return self.open_time + timeframe_ms(self.timeframe)

    @property
    def key(self) -> str:
        """Name of the bar, unique in the system."""
        return f"{self.venue}.{self.symbol}.{self.timeframe}.{self.open_time}"

    def path(self) -> tuple[tuple[int, Decimal], ...]:
        """Return the four points (market time, price) that the price is taken to pass.

        Open, then low before high if the bar closed up, else high before low, then close, at
        0, 1/3, 2/3 and all of the interval.
        """
        length = timeframe_ms(self.timeframe)
        up = self.close > self.open
        middle = (self.low, self.high) if up else (self.high, self.low)
        prices = (self.open, *middle, self.close)
        return tuple((self.open_time + length * i // 3, p) for i, p in enumerate(prices))
