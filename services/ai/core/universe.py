"""Which symbols are worth looking at: seven marks from candles and closed positions, one score.

Marks lie between 0 and 1. Weights and grades are those of the inherited opportunity ranker.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from services.ai.core.outputs import Doubles
from services.ai.core.regime import Regime, sane_rows
from services.ai.core.windows import Floats
from services.trade.times import DAY_MS

BARS = 240
"""Bars that are read of a symbol."""
WEIGHTS: Mapping[str, float] = {
    "trend": 0.25,
    "volatility": 0.20,
    "liquidity": 0.15,
    "regime": 0.15,
    "win_rate": 0.10,
    "spread": 0.10,
    "noise": 0.05,
}
MIN_SCORE = 0.5
_STRONG_TREND = 3.0
"""Move over the window in standard deviations of a walk that goes nowhere."""
_CALM, _LIVELY, _WILD = 0.01, 0.08, 0.20
"""Standard deviation of a day's return: the mark is 1 from calm to lively and 0 at wild."""
_THIN, _DEEP = 6.0, 9.0
"""Decimal logarithm of the quote volume of a day at which the mark is 0 and 1."""
_WIDE_SPREAD = 0.002
"""Spread as a fraction of price at which the mark is 0."""
_EFFICIENCY_BARS = 30
_BLOCK = 32
"""Symbols that are read at once: more leave the processor's cache."""
_LAST_POSITIONS = 50


class Grade(StrEnum):
    """A score as a letter."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    F = "F"


@dataclass(frozen=True, slots=True)
class Opportunity:
    """A symbol with its score."""

    symbol: str
    score: float
    marks: Mapping[str, float]

    @property
    def grade(self) -> Grade:
        """A from 0.8, B from 0.6, C from 0.4, D from 0.2."""
        for least, grade in ((0.8, Grade.A), (0.6, Grade.B), (0.4, Grade.C), (0.2, Grade.D)):
            if self.score >= least:
                return grade
        return Grade.F

    @property
    def reason(self) -> str:
        """The marks that carry the score, the heaviest first."""
        carried = sorted(WEIGHTS, key=lambda name: -WEIGHTS[name] * self.marks[name])
        return ", ".join(f"{name} {self.marks[name]:.2f}" for name in carried[:3])


class TradeRecord:
    """Closed positions by symbol: the last fifty of each."""

    def __init__(self) -> None:
        self._won: dict[str, deque[bool]] = {}

    def take(self, symbol: str, *, won: bool) -> None:
        """Note a closed position."""
        self._won.setdefault(symbol, deque(maxlen=_LAST_POSITIONS)).append(won)

    def win_rate(self, symbol: str) -> float:
        """Return the share of winners, drawn towards one half by two imagined trades."""
        won = self._won.get(symbol, ())
        return (sum(won) + 1) / (len(won) + 2)


def rank(
    windows: Iterable[tuple[str, Floats]], step_ms: int, market: Regime, record: TradeRecord
) -> list[Opportunity]:
    """Score windows [BARS, 5] by symbol and return them, the best first, then by symbol.

    A window that holds what is no candle is left out.
    """
    whole = [(symbol, window[-BARS:]) for symbol, window in windows if len(window) >= BARS]
    found = []
    for begin in range(0, len(whole), _BLOCK):
        symbols, chosen = zip(*whole[begin : begin + _BLOCK], strict=True)
        block = np.stack(chosen)
        sound = sane_rows(block)
        rows = _marks(_columns(block[sound]), step_ms, market)
        for place, marks in zip(np.flatnonzero(sound).tolist(), rows, strict=True):
            symbol = symbols[place]
            marks["win_rate"] = record.win_rate(symbol)
            score = math.fsum(weight * marks[name] for name, weight in WEIGHTS.items())
            found.append(Opportunity(symbol, min(1.0, score), marks))
    return sorted(found, key=lambda one: (-one.score, one.symbol))


def _columns(windows: Floats) -> Doubles:
    """Return windows [symbols, bars, 5] as columns [5, symbols, bars], each in one piece."""
    return windows.transpose(2, 0, 1).astype(np.float64, order="C")


def _marks(columns: Doubles, step_ms: int, market: Regime) -> list[dict[str, float]]:
    """Return the marks of each symbol of [5, symbols, BARS]."""
    _, highs, lows, close, volumes = columns
    returns = np.diff(np.log(close), axis=1)
    deviation = returns.std(axis=1)
    bars_a_day = DAY_MS / step_ms
    numbers = (
        _strengths(returns, deviation),
        deviation * math.sqrt(bars_a_day),
        (close * volumes).mean(axis=1) * bars_a_day,
        spreads_of(highs, lows),
        _efficiencies(close[:, -_EFFICIENCY_BARS:]),
    )
    return [
        {
            "trend": _within(abs(strength) / _STRONG_TREND),
            "volatility": _volatility(a_day),
            "liquidity": _within((math.log10(max(quote, 1.0)) - _THIN) / (_DEEP - _THIN)),
            "regime": _agreement(strength, market),
            "spread": _within(1.0 - spread / _WIDE_SPREAD),
            "noise": _within(efficiency),
        }
        for strength, a_day, quote, spread, efficiency in zip(
            *(column.tolist() for column in numbers), strict=True
        )
    ]


def _strengths(returns: Doubles, deviation: Doubles) -> Doubles:
    scale = deviation * math.sqrt(returns.shape[1])
    found: Doubles = np.zeros_like(scale)
    np.divide(returns.sum(axis=1), scale, out=found, where=scale > 0)
    return found


def _volatility(a_day: float) -> float:
    if a_day <= _LIVELY:
        return _within(a_day / _CALM)
    return _within((_WILD - a_day) / (_WILD - _LIVELY))


def _agreement(strength: float, market: Regime) -> float:
    """Return 1 for a symbol that goes with the market's trend, 0 against it, else one half."""
    direction = {Regime.UPTREND: 1.0, Regime.DOWNTREND: -1.0}.get(market, 0.0)
    return _within(0.5 + direction * strength / _STRONG_TREND / 2.0)


def _efficiencies(close: Doubles) -> Doubles:
    """Return the ways that were made over those that were gone (Kaufman's efficiency ratio)."""
    gone = np.abs(np.diff(close, axis=1)).sum(axis=1)
    made = np.abs(close[:, -1] - close[:, 0])
    found: Doubles = np.zeros_like(gone)
    np.divide(made, gone, out=found, where=gone > 0)
    return found


def spreads_of(high: Doubles, low: Doubles) -> Doubles:
    """Estimate the spreads, as fractions of price, from highs and lows [symbols, bars].

    Corwin and Schultz, A Simple Way to Estimate Bid-Ask Spreads from Daily High and Low Prices
    (2012), equations 14 and 18, with negative estimates taken as none.
    """
    highs, lows = np.log(high), np.log(low)
    single = (highs - lows) ** 2
    beta = single[:, :-1] + single[:, 1:]
    highest = np.maximum(highs[:, :-1], highs[:, 1:])
    gamma = (highest - np.minimum(lows[:, :-1], lows[:, 1:])) ** 2
    root = 3.0 - 2.0 * math.sqrt(2.0)
    alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / root - np.sqrt(gamma / root)
    growth = np.exp(alpha)
    spreads: Doubles = np.maximum(0.0, 2.0 * (growth - 1.0) / (1.0 + growth)).mean(axis=1)
    return spreads


def _within(mark: float) -> float:
    return min(1.0, max(0.0, mark))
