"""Market time: whole milliseconds since 1970 UTC, the exchange's own unit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 86_400_000
_UNITS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=64)
def timeframe_ms(timeframe: str) -> int:
    """Return the length of a timeframe such as `1m`, `15m`, `4h`; ValueError when unknown."""
    number, unit = timeframe[:-1], timeframe[-1:]
    if unit not in _UNITS or not number.isdigit() or int(number) == 0:
        raise ValueError(f"unknown timeframe {timeframe!r}; use a number and m, h or d, like 15m")
    return int(number) * _UNITS[unit]


def utc_day(time_ms: int) -> str:
    """Return the UTC day of a market time as `YYYY-MM-DD`."""
    return _name_of_day(time_ms // DAY_MS)


@lru_cache(maxsize=64)
def _name_of_day(number: int) -> str:
    return to_datetime(number * DAY_MS).strftime("%Y-%m-%d")


def day_start(time_ms: int) -> int:
    """Return 00:00 UTC of the day that holds the market time."""
    return time_ms - time_ms % DAY_MS


@lru_cache(maxsize=4096)
def to_datetime(time_ms: int) -> datetime:
    """Return an aware datetime; exact, no float on the way."""
    return _EPOCH + timedelta(milliseconds=time_ms)


def from_datetime(moment: datetime) -> int:
    """Return the milliseconds of an aware datetime; ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no time zone; times are UTC")
    return (moment - _EPOCH) // timedelta(milliseconds=1)
