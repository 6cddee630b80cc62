"""A market that was recorded: a folder of `*_<timeframe>.csv.gz` files."""

from __future__ import annotations

import gzip
from bisect import bisect_left
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import numpy as np

from services.trade.candle import Candle
from services.trade.times import DAY_MS, timeframe_ms
from services.venue.core.rules import SymbolRules
from services.venue.markets.bars import Bars, decimals_of, scaled
from services.venue.markets.listing import (
    plausible_funding,
    read_brackets,
    read_grid,
    symbol_rules,
)
from services.venue.markets.market import HISTORY

_COLUMNS = "symbol,timeframe,open_time_ms,open,high,low,close,volume"


class RecordingError(ValueError):
    """The folder does not hold a recorded market; the text names what is wrong."""


class RecordedMarket:
    """Recorded candles; the first 500 of each symbol are history.

    Symbols whose record begins within a day of the earliest start together; later ones join when
    they have their own 500 candles of history.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bars = _read_folder(folder)
        any_bars = next(iter(self._bars.values()))
        self._timeframe, self._interval = any_bars.timeframe, any_bars.interval
        firsts = {symbol: bars.first_open for symbol, bars in self._bars.items()}
        early = min(firsts.values()) + DAY_MS
        warm = HISTORY * self._interval
        self._start = max(first for first in firsts.values() if first <= early) + warm
        self._joins = {s: max(self._start, first + warm) for s, first in firsts.items()}
        self._end = max(b.first_open + len(b) * b.interval for b in self._bars.values())
        if self._end <= self._start:
            raise RecordingError(f"{folder}: fewer than {HISTORY} candles in every file")
        self._symbols = _rules(folder.parent, self._bars)
        self._funding = _read_funding(folder.parent / "funding_rates.csv.gz", set(self._bars))

    @property
    def name(self) -> str:
        """Name of the folder."""
        return f"recorded-{self._folder.resolve().name}"

    @property
    def timeframe(self) -> str:
        """Timeframe of the files."""
        return self._timeframe

    @property
    def start(self) -> int:
        """Market time of the first round."""
        return self._start

    @property
    def symbols(self) -> Mapping[str, SymbolRules]:
        """Every symbol that has a file."""
        return self._symbols

    def trades_from(self, symbol: str) -> int:
        """Return the open time of a symbol's first round."""
        return self._joins[symbol]

    def history_from(self, symbol: str) -> int:
        """Return the open time of a symbol's first recorded candle."""
        return self._bars[symbol].first_open

    def round(self, index: int) -> dict[str, Candle] | None:
        """Return the candles of a round; None after the last recorded candle."""
        open_time = self._start + index * self._interval
        if open_time >= self._end:
            return None
        found = (
            (symbol, self.candle(symbol, open_time))
            for symbol, join in self._joins.items()
            if join <= open_time
        )
        return {symbol: candle for symbol, candle in found if candle is not None}

    def candle(self, symbol: str, open_time: int) -> Candle | None:
        """Return the candle that opens at a time; None outside of the record."""
        bars = self._bars.get(symbol)
        return bars.candle(open_time) if bars else None

    def funding_rate(self, symbol: str, time: int) -> Decimal:
        """Return the recorded rate, or a small made-up one where none was recorded."""
        times, rates = self._funding.get(symbol, ((), ()))
        place = bisect_left(times, time)
        if place < len(times) and times[place] == time:
            return rates[place]
        return plausible_funding(0, symbol, time)


def _read_folder(folder: Path) -> dict[str, Bars]:
    files = sorted(folder.glob("*_*.csv.gz"))
    if not files:
        raise RecordingError(f"{folder}: no *_<timeframe>.csv.gz files there")
    bars = {one.symbol: one for one in map(_read_file, files)}
    if len({one.timeframe for one in bars.values()}) != 1:
        raise RecordingError(f"{folder}: files of more than one timeframe")
    return bars


def _read_file(path: Path) -> Bars:
    symbol, timeframe = path.name.removesuffix(".csv.gz").rsplit("_", 1)
    interval = timeframe_ms(timeframe)
    with gzip.open(path, "rt") as file:
        if file.readline().strip() != _COLUMNS:
            raise RecordingError(f"{path}: the first line is not {_COLUMNS}")
        text = file.read()
    plain = text.replace(f"{symbol},{timeframe},", "").replace("\n", ",").rstrip(",")
    values = np.fromstring(plain, dtype=np.float64, sep=",").reshape(-1, 6)
    opens = values[:, 0].astype(np.int64)
    if len(opens) == 0 or np.any(np.diff(opens) != interval):
        raise RecordingError(f"{path}: empty, or candles are missing or out of order")
    price_decimals, volume_decimals = decimals_of(values[:, 1:5]), decimals_of(values[:, 5])
    whole = np.concatenate(
        (scaled(values[:, 1:5], price_decimals), scaled(values[:, 5:6], volume_decimals)), axis=1
    )
    return Bars(symbol, timeframe, interval, int(opens[0]), price_decimals, volume_decimals, whole)


def _rules(folder: Path, bars: Mapping[str, Bars]) -> dict[str, SymbolRules]:
    grid_file, bracket_file = (
        folder / "symbols_observed_grid.json",
        folder / "leverage_brackets.json",
    )
    grid = read_grid(grid_file) if grid_file.exists() else {}
    brackets = read_brackets(bracket_file) if bracket_file.exists() else {}
    made = {}
    for symbol, one in bars.items():
        tick, step = (
            Decimal(1).scaleb(-one.price_decimals),
            Decimal(1).scaleb(-one.volume_decimals),
        )
        observed = grid.get(symbol, (tick, step))
        made[symbol] = symbol_rules(
            symbol,
            tick=_plain(min(tick, observed[0])),
            step=_plain(observed[1]),
            brackets=brackets.get(symbol),
        )
    return made


def _plain(value: Decimal) -> Decimal:
    """Return the value without trailing zeros and without an exponent."""
    return Decimal(f"{value.normalize():f}")


def _read_funding(
    path: Path, symbols: set[str]
) -> dict[str, tuple[tuple[int, ...], tuple[Decimal, ...]]]:
    if not path.exists():
        return {}
    rows: dict[str, list[tuple[int, Decimal]]] = {}
    with gzip.open(path, "rt") as file:
        next(file)
        for line in file:
            symbol, time, rate = line.strip().split(",")
            if symbol in symbols:
                rows.setdefault(symbol, []).append((int(time), Decimal(rate)))
    made = {}
    for symbol, pairs in rows.items():
        pairs.sort()
        made[symbol] = (tuple(t for t, _ in pairs), tuple(r for _, r in pairs))
    return made
