"""Recorded candles from CSV files, and training rows made from them."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from services.lab.training.features import WINDOW
from services.trade.barrier_label import LabelRule, label_moves
from services.trade.times import timeframe_ms

BATCH = 256
HEADER = "symbol,timeframe,open_time_ms,open,high,low,close,volume"

Floats = npt.NDArray[np.float32]
Progress = Callable[[int], None]
"""Told how many rows were made since the last call."""


class BadData(ValueError):
    """A candle file does not hold what it should; the message says which and what."""


@dataclass(frozen=True, slots=True)
class Series:
    """Gap-free candles of one symbol."""

    symbol: str
    timeframe: str
    times: npt.NDArray[np.int64]
    """Open times, market time in milliseconds."""
    bars: npt.NDArray[np.float64]
    """[L, 5] open, high, low, close, volume."""


class Inputs(NamedTuple):
    """What the graph computes of windows, and what the models read of it."""

    features: Floats
    """[N, F]: what the trees read."""
    series: Floats
    """[N, 5, T]: what the networks read, with the level."""
    level: Floats
    """[N, 4]"""

    def take(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Inputs:
        """Return the chosen rows."""
        return Inputs(*(column[chosen] for column in self))


class Read(NamedTuple):
    """One pass of the features graph over windows."""

    valid: npt.NDArray[np.bool_]
    features: Floats
    atr_fraction: Floats
    series: Floats
    level: Floats


@dataclass(frozen=True, slots=True)
class Rows:
    """Training rows of one or more symbols."""

    inputs: Inputs
    atr_fraction: Floats
    labels: npt.NDArray[np.int64]
    moves: npt.NDArray[np.float64]
    """Return from the entry to the exit, before costs."""
    times: npt.NDArray[np.int64]
    """Close time of the window's last bar."""
    symbols: npt.NDArray[np.str_]

    def take(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Rows:
        """Return the chosen rows."""
        return Rows(
            self.inputs.take(chosen),
            self.atr_fraction[chosen],
            self.labels[chosen],
            self.moves[chosen],
            self.times[chosen],
            self.symbols[chosen],
        )

    @property
    def features(self) -> Floats:
        """Features [N, F]."""
        return self.inputs.features


def candle_files(path: Path) -> list[Path]:
    """Return the candle files of a folder, or the file itself; BadData when there are none."""
    if path.is_file():
        return [path]
    found = sorted(path.glob("*.csv.gz")) + sorted(path.glob("*.csv"))
    if not found:
        raise BadData(f"{path}: no *.csv.gz candle files")
    return found


def read_series(path: Path) -> Series:
    """Read one file of candles; BadData on a wrong header or a gap."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as file:
        header = file.readline().strip()
        if header != HEADER:
            raise BadData(f"{path}: header is {header!r}, not {HEADER!r}")
        symbol, timeframe = file.readline().split(",")[:2]
    numbers = np.loadtxt(path, delimiter=",", skiprows=1, usecols=range(2, 8), dtype=np.float64)
    times = numbers[:, 0].astype(np.int64)
    gaps = np.flatnonzero(np.diff(times) != timeframe_ms(timeframe))
    if gaps.size:
        raise BadData(f"{path}: gap after open time {times[gaps[0]]}")
    return Series(symbol, timeframe, times, numbers[:, 1:])


def between(series: Series, start: int, end: int) -> Series:
    """Return the candles whose open time lies in [start, end)."""
    chosen = (series.times >= start) & (series.times < end)
    return Series(series.symbol, series.timeframe, series.times[chosen], series.bars[chosen])


class FeatureReader:
    """Runs the features graph over windows of a series, in batches of one shape."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def read(
        self, bars: npt.NDArray[np.float32], ends: npt.NDArray[np.int64], progress: Progress
    ) -> Read:
        """Return what the graph says of the windows that end at bars `ends`."""
        parts = list(self._batches(bars, ends, progress))
        columns = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Read(*(column[: ends.size] for column in columns))

    def _batches(
        self, bars: npt.NDArray[np.float32], ends: npt.NDArray[np.int64], progress: Progress
    ) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        views = np.lib.stride_tricks.sliding_window_view(bars, WINDOW, axis=0)
        for start in range(0, ends.size, BATCH):
            chosen = ends[start : start + BATCH]
            padded = np.pad(chosen, (0, BATCH - chosen.size), mode="edge")
            windows = views[padded - WINDOW + 1].transpose(0, 2, 1)
            found = self._session.run(list(Read._fields), {"window": np.ascontiguousarray(windows)})
            yield tuple(found)
            progress(int(chosen.size))


def make_rows(
    series: Series, reader: FeatureReader, rule: LabelRule, every: int, progress: Progress
) -> Rows:
    """Return a row for every `every`-th bar that has a full window and a full horizon."""
    length = series.times.size
    ends = np.arange(WINDOW - 1, length - rule.horizon, every, dtype=np.int64)
    if not ends.size:
        raise BadData(f"{series.symbol}: {length} candles are too few for one row")
    read = reader.read(series.bars.astype(np.float32), ends, progress)
    inputs = Inputs(read.features, read.series, read.level).take(read.valid)
    ends, atr = ends[read.valid], read.atr_fraction[read.valid]
    labels, moves = label_moves(series.bars, ends, atr, rule)
    times = series.times[ends] + timeframe_ms(series.timeframe)
    return Rows(inputs, atr, labels, moves, times, np.full(ends.size, series.symbol))


def join_rows(parts: list[Rows]) -> Rows:
    """Return the rows of several symbols in the order of time, then symbol."""
    names = ("atr_fraction", "labels", "moves", "times", "symbols")
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
    order = np.lexsort((columns[4], columns[3]))
    inputs = Inputs(*map(np.concatenate, zip(*(part.inputs for part in parts), strict=True)))
    return Rows(inputs.take(order), *(column[order] for column in columns))
