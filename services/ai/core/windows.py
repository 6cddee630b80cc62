"""Windows of candles: one float32 ring per series, keyed by open time, never by arrival."""

from __future__ import annotations

from collections.abc import Sequence
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
    """The last bars of one series: a row of its table."""

    step: int
    """Length of a bar in milliseconds."""
    capacity: int
    place: int
    """Row in the table."""
    newest: int = _EMPTY
    """Open time of the newest bar."""
    _whole_from: int = 0
    """From this bar to the newest none is missing, as far back as the capacity reaches."""
    _oldest: int = 1 << 62
    """Open time of the oldest bar that was ever offered: before it nothing is missing."""
    _times: npt.NDArray[np.int64] = field(init=False)
    _rows: Floats = field(init=False)

    def attach(self, times: npt.NDArray[np.int64], rows: Floats) -> None:
        """Take the memory of the table in which the bars lie."""
        self._times, self._rows = times[self.place], rows[self.place]

    def insert(self, open_time: int, row: tuple[float, ...]) -> Insert:
        """Put a bar in its place; its open time lies on the timeframe's grid."""
        self._oldest = min(self._oldest, open_time)
        slot = open_time // self.step % self.capacity
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
        if not self.whole(first, last) and not all(map(self._holds, range(first, last + 1))):
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

    def whole(self, first: int, last: int) -> bool:
        """Tell whether none is missing from one bar's number to another's; False when unsure."""
        oldest = max(self._whole_from, self.newest - (self.capacity - 1) * self.step)
        return oldest <= first * self.step and last * self.step <= self.newest


class _Table:
    """The bars of all series of one venue and timeframe, in one piece of memory."""

    def __init__(self, step: int, capacity: int) -> None:
        self.step = step
        self.capacity = capacity
        self.rings: dict[str, Ring] = {}
        """By symbol."""
        self.times = np.empty((0, capacity), dtype=np.int64)
        self.rows: Floats = np.empty((0, capacity, _COLUMNS), dtype=np.float32)

    def add(self, symbol: str) -> Ring:
        """Return the ring of a symbol that has none yet."""
        ring = Ring(self.step, self.capacity, len(self.rings))
        self.rings[symbol] = ring
        if ring.place == len(self.times):
            self._grow()
        else:
            ring.attach(self.times, self.rows)
        return ring

    def _grow(self) -> None:
        held, size = len(self.times), max(8, 2 * len(self.times))
        times = np.full((size, self.capacity), _EMPTY, dtype=np.int64)
        rows = np.zeros((size, self.capacity, _COLUMNS), dtype=np.float32)
        times[:held], rows[:held] = self.times, self.rows
        self.times, self.rows = times, rows
        for ring in self.rings.values():
            ring.attach(times, rows)

    def put(self, open_time: int, places: list[int], values: list[tuple[float, ...]]) -> None:
        """Write the bars that follow the newest of their rings."""
        slot = open_time // self.step % self.capacity
        self.times[places, slot] = open_time
        self.rows[places, slot] = values

    def windows(self, places: list[int], first: int, length: int) -> Floats:
        """Return copies of `length` bars from the bar of a number: [places, length, 5]."""
        begin = first % self.capacity
        beyond = begin + length - self.capacity
        if beyond <= 0:
            return self.rows[places, begin : begin + length]
        return np.concatenate((self.rows[places, begin:], self.rows[places, :beyond]), axis=1)


class Windows:
    """The rings of all series. A function of the set of candles inserted, not of their order."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._tables: dict[tuple[str, str], _Table] = {}
        self._newest_close: dict[str, int] = {}

    def _table(self, candle: Candle) -> _Table:
        market = candle.venue, candle.timeframe
        table = self._tables.get(market)
        if table is None:
            table = self._tables[market] = _Table(timeframe_ms(candle.timeframe), self._capacity)
        return table

    def _ring(self, key: SeriesKey) -> Ring | None:
        table = self._tables.get((key.venue, key.timeframe))
        return None if table is None else table.rings.get(key.symbol)

    def insert(self, candle: Candle) -> Insert:
        """Keep a candle; ValueError when its open time is off the timeframe's grid."""
        return self.insert_round([candle])[0]

    def insert_round(self, candles: Sequence[Candle]) -> list[Insert]:
        """Keep candles of one venue, timeframe and open time, and tell what became of each.

        ValueError when the open time is off the timeframe's grid; then none is kept.
        """
        first = candles[0]
        table, opened = self._table(first), first.open_time
        if opened % table.step:
            raise ValueError(f"open time {opened} is no multiple of {table.step} ms")
        found, before = [Insert.STORED] * len(candles), opened - table.step
        places: list[int] = []
        values: list[tuple[float, ...]] = []
        others: list[int] = []
        for number, candle in enumerate(candles):
            ring = table.rings.get(candle.symbol)
            if ring is None or ring.newest != before:
                others.append(number)
                continue
            ring.newest = opened
            places.append(ring.place)
            values.append(candle_row(candle))
        if places:
            table.put(opened, places, values)
        for number in others:
            candle = candles[number]
            ring = table.rings.get(candle.symbol) or table.add(candle.symbol)
            found[number] = ring.insert(opened, candle_row(candle))
        close = opened + table.step
        if close > self._newest_close.get(first.venue, 0):
            self._newest_close[first.venue] = close
        return found

    def windows(self, candles: Sequence[Candle], length: int) -> tuple[list[bool], Floats]:
        """Tell which candles of one round end a whole window; return these, [whole, length, 5].

        One that is not whole belongs to a series that is not known, or lacks a bar.
        """
        table, opened = self._table(candles[0]), candles[0].open_time
        last = opened // table.step
        first = last - length + 1
        whole: list[bool] = []
        places: list[int] = []
        looked_for: dict[int, Floats] = {}
        for number, candle in enumerate(candles):
            ring = table.rings.get(candle.symbol)
            straight = ring is not None and ring.whole(first, last)
            if ring is not None and straight:
                places.append(ring.place)
            elif ring is not None and (window := ring.window(opened, length)) is not None:
                looked_for[number] = window
            whole.append(straight or number in looked_for)
        block = table.windows(places, first, length)
        if looked_for:
            rest = iter(block)
            numbers = (number for number, found in enumerate(whole) if found)
            block = np.stack([looked_for[n] if n in looked_for else next(rest) for n in numbers])
        return whole, block

    def window(self, key: SeriesKey, end: int, length: int) -> Floats | None:
        """Return the window [length, 5] that ends with the bar opened at `end`.

        None when the series is not known or a bar of the window is missing.
        """
        ring = self._ring(key)
        return None if ring is None else ring.window(end, length)

    def gaps(self, candles: Sequence[Candle], length: int) -> list[Gap | None]:
        """Return what is missing inside the newest windows of candles of one venue and timeframe.

        They are kept: one that is not has no series.
        """
        rings = self._table(candles[0]).rings
        return [rings[candle.symbol].gap(length) for candle in candles]

    def gap(self, key: SeriesKey, length: int) -> Gap | None:
        """Return what is missing inside the newest window of a series; None when nothing."""
        ring = self._ring(key)
        return None if ring is None else ring.gap(length)

    def all_ending(
        self, venue: str, timeframe: str, end: int, length: int
    ) -> list[tuple[str, Floats]]:
        """Return symbol and window of a venue's series that have one ending with a bar."""
        table = self._tables.get((venue, timeframe))
        rings = {} if table is None else table.rings
        chosen = [(symbol, ring.window(end, length)) for symbol, ring in rings.items()]
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
        return {timeframe for (_, timeframe), table in self._tables.items() if table.rings}

    def __len__(self) -> int:
        return sum(len(table.rings) for table in self._tables.values())

    def ready(self, timeframe: str, length: int) -> list[SeriesKey]:
        """Return the series of a timeframe whose newest bar ends a whole window."""
        return [
            SeriesKey(venue, symbol, timeframe)
            for (venue, each), table in self._tables.items()
            if each == timeframe
            for symbol, ring in table.rings.items()
            if ring.window(ring.newest, length) is not None
        ]
