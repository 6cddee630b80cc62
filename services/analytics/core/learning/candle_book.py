"""The newest closed candles of every symbol, as numbers for labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.trade.times import timeframe_ms

Bars = npt.NDArray[np.float64]
"""[L, 5]: open, high, low, close, volume."""
Row = tuple[float, float, float, float, float]

CHUNK = 60
"""Bars that are stored together for training."""


@dataclass(frozen=True, slots=True)
class SeriesKey:
    """Names a series of candles."""

    venue: str
    symbol: str
    timeframe: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """`CHUNK` candles without a gap; `start` is the first open time, a multiple of its length."""

    key: SeriesKey
    start: int
    bars: Bars


class _Track:
    """One series in the order of time; the oldest fall out."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._times: npt.NDArray[np.int64] = np.zeros(2 * keep, dtype=np.int64)
        self._bars: Bars = np.zeros((2 * keep, 5))
        self.size = 0

    @property
    def times(self) -> npt.NDArray[np.int64]:
        return self._times[: self.size]

    @property
    def bars(self) -> Bars:
        return self._bars[: self.size]

    def add(self, open_time: int, row: Row) -> bool:
        place = int(np.searchsorted(self.times, open_time))
        if place < self.size and self._times[place] == open_time:
            return False
        if self.size == 2 * self._keep:
            self._drop(self._keep)
            place -= self._keep
            if place < 0:
                return False
        if place < self.size:  # a late one: make room
            self._times[place + 1 : self.size + 1] = self._times[place : self.size].copy()
            self._bars[place + 1 : self.size + 1] = self._bars[place : self.size].copy()
        self._times[place], self._bars[place] = open_time, row
        self.size += 1
        return True

    def _drop(self, count: int) -> None:
        self._times[: self.size - count] = self._times[count : self.size].copy()
        self._bars[: self.size - count] = self._bars[count : self.size].copy()
        self.size -= count

    def span(self, first: int, last: int, step: int) -> Bars | None:
        """Bars from open time `first` to `last`, both included; None when one is missing."""
        begin = int(np.searchsorted(self.times, first))
        count = (last - first) // step + 1
        end = begin + count
        if end > self.size or self._times[begin] != first or self._times[end - 1] != last:
            return None
        return self._bars[begin:end]


class CandleBook:
    """Keeps at least the newest `keep` candles of each series."""

    def __init__(self, keep: int = 512) -> None:
        self._keep = keep
        self._tracks: dict[SeriesKey, _Track] = {}
        self._chunks: list[Chunk] = []
        self.newest: dict[str, int] = {}
        """By timeframe: the close time of the newest candle of any symbol."""

    def add(self, key: SeriesKey, open_time: int, row: Row) -> bool:
        """Take in a closed candle; False when it was there already."""
        track = self._tracks.setdefault(key, _Track(self._keep))
        if not track.add(open_time, row):
            return False
        step = timeframe_ms(key.timeframe)
        self.newest[key.timeframe] = max(self.newest.get(key.timeframe, 0), open_time + step)
        self._complete(key, track, open_time, step)
        return True

    def window(self, key: SeriesKey, candle_open: int, before: int, after: int) -> Bars | None:
        """Return `before` bars up to the one of `candle_open`, and `after` bars behind it.

        None while one of them is missing.
        """
        track = self._tracks.get(key)
        if track is None:
            return None
        step = timeframe_ms(key.timeframe)
        first, last = candle_open - (before - 1) * step, candle_open + after * step
        return track.span(first, last, step)

    def take_chunks(self) -> list[Chunk]:
        """Return the chunks that became whole since the last call."""
        chunks, self._chunks = self._chunks, []
        return chunks

    def _complete(self, key: SeriesKey, track: _Track, open_time: int, step: int) -> None:
        start = open_time - open_time % (CHUNK * step)
        bars = track.span(start, start + (CHUNK - 1) * step, step)
        if bars is not None:
            self._chunks.append(Chunk(key, start, bars.copy()))
