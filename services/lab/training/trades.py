"""What predictions would have earned: one position a symbol at a time, after fees and funding.

The gate is the confidence that the wanted share of rows reached in the fold before, so it knows
nothing of the rows that it trades; the first fold has no such fold and trades nothing.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.lab.training import scores
from services.lab.training.baselines import ALWAYS_HOLD
from services.lab.training.walk_forward import Measured
from services.trade.barrier_label import UP

_DAY_MS = 86_400_000
_RESAMPLES = 500

Funding = Mapping[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]
"""By symbol: settlement times in milliseconds, ascending, and rates; a long pays a positive one."""


@dataclass(frozen=True, slots=True)
class Earned:
    """Trades of one predictor. Basis points of the position, mean a trade."""

    trades: int
    gross_bp: float
    funding_bp: float
    net_bp: float
    low_bp: float
    """Lower end of the 95 % interval of `net_bp`, by resampling days."""
    high_bp: float
    long_share: float
    total_bp: float
    """Sum of the net returns, all positions of one size."""


def read_funding(path: Path) -> Funding:
    """Read settled funding rates; ValueError on a wrong header."""
    with gzip.open(path, "rt") as file:
        header = file.readline().strip()
        if header != "symbol,funding_time_ms,funding_rate":
            raise ValueError(f"{path}: header is {header!r}")
        lines = [line.strip().split(",") for line in file]
    symbols = np.array([line[0] for line in lines])
    times = np.array([int(line[1]) for line in lines], dtype=np.int64)
    rates = np.array([float(line[2]) for line in lines])
    found = {}
    for symbol in np.unique(symbols).tolist():
        chosen = np.flatnonzero(symbols == symbol)
        chosen = chosen[np.argsort(times[chosen], kind="stable")]
        found[symbol] = (times[chosen], rates[chosen])
    return found


@dataclass(frozen=True, slots=True)
class Trades:
    """Entries of one predictor, as rows of what was measured."""

    rows: npt.NDArray[np.int64]
    gross: npt.NDArray[np.float64]
    funding: npt.NDArray[np.float64]
    """Paid, as a fraction of the position; negative when received."""
    cost: float
    long: npt.NDArray[np.bool_]
    times: npt.NDArray[np.int64]

    @property
    def net(self) -> npt.NDArray[np.float64]:
        """Return after fees, slippage and funding, a fraction of the position."""
        found: npt.NDArray[np.float64] = self.gross - self.funding - self.cost
        return found

    def take(self, chosen: npt.NDArray[np.bool_]) -> Trades:
        """Return the chosen trades."""
        return Trades(
            self.rows[chosen],
            self.gross[chosen],
            self.funding[chosen],
            self.cost,
            self.long[chosen],
            self.times[chosen],
        )

    def earned(self) -> Earned:
        """Sum them up."""
        if not self.rows.size:
            return Earned(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        low, high = _interval(self.net, self.times // _DAY_MS)
        return Earned(
            trades=int(self.rows.size),
            gross_bp=float(self.gross.mean() * 1e4),
            funding_bp=float(self.funding.mean() * 1e4),
            net_bp=float(self.net.mean() * 1e4),
            low_bp=low * 1e4,
            high_bp=high * 1e4,
            long_share=float(self.long.mean()),
            total_bp=float(self.net.sum() * 1e4),
        )


def _interval(returns: npt.NDArray[np.float64], days: npt.NDArray[np.int64]) -> tuple[float, float]:
    _, places = np.unique(days, return_inverse=True)
    sums, counts = np.bincount(places, returns), np.bincount(places)
    chosen = np.random.default_rng(1).integers(0, sums.size, (_RESAMPLES, sums.size))
    means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def trade(
    measured: Measured, name: str, share: float, holding_ms: int, cost: float, funding: Funding
) -> Trades:
    """Trade one predictor's most confident share; `always_hold` never trades."""
    predictions, rows = measured.predictions[name], measured.rows
    said = scores.confidence(predictions)
    passed = np.zeros(said.size, dtype=np.bool_)
    if name != ALWAYS_HOLD:
        for number in range(1, int(measured.fold.max()) + 1):
            before = said[measured.fold == number - 1]
            threshold = np.quantile(before, 1.0 - share) if before.size else np.inf
            passed |= (measured.fold == number) & (said >= threshold)
    chosen = _one_at_a_time(np.flatnonzero(passed), rows.times, rows.symbols, holding_ms)
    long = scores.advised_side(predictions)[chosen] == UP
    sign = np.where(long, 1.0, -1.0)
    times = rows.times[chosen]
    paid = np.array(
        [
            _funding(funding, symbol, time, time + holding_ms)
            for symbol, time in zip(rows.symbols[chosen].tolist(), times.tolist(), strict=True)
        ]
    )
    return Trades(chosen, sign * rows.moves[chosen], sign * paid, cost, long, times)


def _one_at_a_time(
    candidates: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
    symbols: npt.NDArray[np.str_],
    holding_ms: int,
) -> npt.NDArray[np.int64]:
    free_from: dict[str, int] = {}
    found = []
    for row in candidates.tolist():
        symbol, time = str(symbols[row]), int(times[row])
        if time >= free_from.get(symbol, 0):
            free_from[symbol] = time + holding_ms
            found.append(row)
    return np.array(found, dtype=np.int64)


def _funding(funding: Funding, symbol: str, start: int, end: int) -> float:
    """Sum the rates settled in (start, end]: a position that leaves early may pay less."""
    if symbol not in funding:
        return 0.0
    times, rates = funding[symbol]
    first, last = np.searchsorted(times, [start, end], side="right")
    return float(rates[first:last].sum())
