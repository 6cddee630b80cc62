"""What a symbol trades: mean volume and range of its candles, and the volume by hour of day."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal

from services.trade.candle import Candle
from services.trade.times import HOUR_MS, timeframe_ms

HOURS = 24
_MEMORY = Decimal(32)
"""Candles over which the means are taken (exponential, weight 1/32 for the newest)."""
_DIGITS = Context(prec=12)
_PARKINSON = Decimal("0.6005612")
"""1 / (2 sqrt(ln 2)): a candle's standard deviation from its range, Parkinson 1980."""


@dataclass(frozen=True, slots=True)
class VolumeProfile:
    """Means over a symbol's closed candles; volumes in the base asset."""

    symbol: str
    candle_ms: int
    volume: Decimal
    """Mean volume of a candle."""
    spread: Decimal
    """Mean of (high - low) / close."""
    hours: tuple[Decimal, ...]
    """Mean volume of a candle by UTC hour of day; 0 where none was seen."""
    time: int
    """Close of the newest candle in it."""

    @property
    def volatility(self) -> Decimal:
        """Standard deviation of the price over one candle, as a fraction."""
        return self.spread * _PARKINSON

    def weight(self, time: int) -> Decimal:
        """Return the volume to expect at a market time's hour of day."""
        return self.hours[hour_of(time)] or self.volume

    def with_candle(self, candle: Candle) -> VolumeProfile:
        """Return the profile after a candle; one that is not newer changes nothing."""
        time = candle.close_time
        if time <= self.time:
            return self
        hour, hours = hour_of(candle.open_time), list(self.hours)
        known = hours[hour]
        hours[hour] = _towards(known, candle.volume) if known else candle.volume
        return VolumeProfile(
            self.symbol,
            self.candle_ms,
            _towards(self.volume, candle.volume),
            _towards(self.spread, spread_of(candle)),
            tuple(hours),
            time,
        )


def profile_of(candle: Candle) -> VolumeProfile:
    """Return the profile after a symbol's first candle."""
    hours = [Decimal(0)] * HOURS
    hours[hour_of(candle.open_time)] = candle.volume
    return VolumeProfile(
        candle.symbol,
        timeframe_ms(candle.timeframe),
        candle.volume,
        spread_of(candle),
        tuple(hours),
        candle.close_time,
    )


def hour_of(time: int) -> int:
    """Return the UTC hour of day of a market time."""
    return time // HOUR_MS % HOURS


def spread_of(candle: Candle) -> Decimal:
    """Return a candle's range as a fraction of its close."""
    return _DIGITS.divide(candle.high - candle.low, candle.close)


def _towards(mean: Decimal, value: Decimal) -> Decimal:
    return _DIGITS.add(mean, (value - mean) / _MEMORY)
