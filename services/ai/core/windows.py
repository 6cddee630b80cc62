"""Windows of candles: one float32 ring per series, keyed by open time, never by arrival."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.trade.candle import Candle
from services.trade.float32 import candle_row
from services.trade.times import timeframe_ms

CAPACITY = 512
"""Bars that a ring holds; the market stream keeps as many."""
_COLUMNS = 5
_EMPTY = -1

Floats = npt.NDArray[np.float32]


class SeriesKey(NamedTuple):
    """What one ring holds the candles of; a tuple, as it is hashed twice a candle."""

    venue: str
    symbol: str
    timeframe: str

    @classmethod
    def of(cls, candle: Candle) -> SeriesKey:
        """Return the series of a candle."""
        return tuple.__new__(cls, (candle.venue, candle.symbol, candle.timeframe))


class Insert(StrEnum):
    """What became of a candle."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    """The bar is known with other numbers; the first ones stay."""
    TOO_OLD = "too_old"
    """The ring holds a bar that is a whole ring newer in its place."""


class Gap(NamedTuple):
    """Bars that a window lacks although the series has older ones: from the first to the last."""

    first: int
    """Open time of the first missing bar."""
    last: int


@dataclass(slots=True)
class Ring:
    """The last bars of one series."""

    step: int
    """Length of a bar in milliseconds."""
    capacity: int = CAPACITY
    newest: int = _EMPTY
    """Open time of the newest bar."""
    _whole_from: int = 0
    """From this bar to the newest none is missing, as far back as the capacity reaches."""
    _oldest: int = 1 << 62
    """Open time of the oldest bar that was ever offered: before it nothing is missing."""
    _times: npt.NDArray[np.int64] = field(init=False)
    _rows: Floats = field(init=False)

    def __post_init__(self) -> None:
        self._times = np.full(self.capacity, _EMPTY, dtype=np.int64)
        self._rows = np.zeros((self.capacity, _COLUMNS), dtype=np.float32)

    def insert(self, open_time: int, row: tuple[float, ...]) -> Insert:
        """Put a bar in its place; ValueError when its open time is off the timeframe's grid."""
        number, rest = divmod(open_time, self.step)
        if rest:
            raise ValueError(f"open time {open_time} is no multiple of {self.step} ms")
        self._oldest = min(self._oldest, open_time)
        slot = number % self.capacity
        held = self._times.item(slot)
        if held == open_time:
            same = np.array_equal(self._rows[slot], np.array(row, dtype=np.float32))
            return Insert.DUPLICATE if same else Insert.CONFLICT
        if held > open_time:
            return Insert.TOO_OLD
        self._times[slot] = open_time
        self._rows[slot] = row
        self._note(open_time)
        return Insert.STORED

    def _note(self, open_time: int) -> None:
        """Keep `newest` and `_whole_from` true of a bar that was just stored."""
        if open_time > self.newest:
            if open_time != self.newest + self.step:
                self._whole_from = open_time
            self.newest = open_time
        elif open_time == self._whole_from - self.step:
            number = open_time // self.step
            while self._holds(number - 1) and self.newest // self.step - number < self.capacity:
                number -= 1
            self._whole_from = number * self.step

    def _holds(self, number: int) -> bool:
        return self._times.item(number % self.capacity) == number * self.step

    def window(self, end: int, length: int) -> Floats | None:
        """Return a copy of the `length` bars that end with the bar opened at `end`; None on a gap.

        ValueError when no ring of this capacity can hold that many.
        """
        if not 0 < length <= self.capacity:
            raise ValueError(f"a window of {length} bars does not fit a ring of {self.capacity}")
        last = end // self.step
        first = last - length + 1
        if not self._whole(first, last) and not all(map(self._holds, range(first, last + 1))):
            return None
        begin = first % self.capacity
        beyond = begin + length - self.capacity
        if beyond <= 0:
            return self._rows[begin : begin + length].copy()
        return np.concatenate((self._rows[begin:], self._rows[:beyond]))

    def gap(self, length: int) -> Gap | None:
        """Return what is missing of the `length` bars that end with the newest; None when nothing.

        What lies before the oldest bar is not missing: the series is younger than a window.
        """
        first = max(self.newest - (length - 1) * self.step, self._oldest)
        if self._whole_from <= first:
            return None
        numbers = range(first // self.step, self.newest // self.step)
        missing = [number for number in numbers if not self._holds(number)]
        return Gap(missing[0] * self.step, missing[-1] * self.step) if missing else None

    def _whole(self, first: int, last: int) -> bool:
        oldest = max(self._whole_from, self.newest - (self.capacity - 1) * self.step)
        return oldest <= first * self.step and last * self.step <= self.newest


class Windows:
    """The rings of all series. A function of the set of candles inserted, not of their order."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._rings: dict[SeriesKey, Ring] = {}
        self._newest_close: dict[str, int] = {}

    def insert(self, candle: Candle) -> Insert:
        """Keep a candle; ValueError when its open time is off the timeframe's grid."""
        key = SeriesKey.of(candle)
        ring = self._rings.get(key)
        if ring is None:
            ring = Ring(timeframe_ms(candle.timeframe), self._capacity)
        result = ring.insert(candle.open_time, candle_row(candle))
        self._rings[key] = ring
        close = candle.open_time + ring.step
        if close > self._newest_close.get(candle.venue, 0):
            self._newest_close[candle.venue] = close
        return result

    def window(self, key: SeriesKey, end: int, length: int) -> Floats | None:
        """Return the window [length, 5] that ends with the bar opened at `end`.

        None when the series is not known or a bar of the window is missing.
        """
        ring = self._rings.get(key)
        return None if ring is None else ring.window(end, length)

    def gap(self, key: SeriesKey, length: int) -> Gap | None:
        """Return what is missing inside the newest window of a series; None when nothing."""
        ring = self._rings.get(key)
        return None if ring is None else ring.gap(length)

    def all_ending(
        self, venue: str, timeframe: str, end: int, length: int
    ) -> list[tuple[str, Floats]]:
        """Return symbol and window of a venue's series that have one ending with a bar."""
        chosen = [
            (key.symbol, ring.window(end, length))
            for key, ring in self._rings.items()
            if key.venue == venue and key.timeframe == timeframe
        ]
        return [(symbol, window) for symbol, window in chosen if window is not None]

    def newest_close(self, venue: str) -> int:
        """Market time of a venue: close of its newest candle; 0 before the first."""
        return self._newest_close.get(venue, 0)

    @property
    def newest_close_of_all(self) -> int:
        """Close of the newest candle of any venue; 0 before the first."""
        return max(self._newest_close.values(), default=0)

    def timeframes(self) -> set[str]:
        """Return the timeframes of which there are candles."""
        return {key.timeframe for key in self._rings}

    def __len__(self) -> int:
        return len(self._rings)

    def ready(self, timeframe: str, length: int) -> list[SeriesKey]:
        """Return the series of a timeframe whose newest bar ends a whole window."""
        return [
            key
            for key, ring in self._rings.items()
            if key.timeframe == timeframe and ring.window(ring.newest, length) is not None
        ]
