"""A market that is made up: seeded, endless, correlated symbols with clustered volatility.

Every day is made by itself from (seed, day): its first and last price are fixed by a smooth
random curve over days, and the minutes between are a path from one to the other. So any candle
can be had without making the ones before it, and a restart costs one day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from math import cos, exp, log, pi

import numpy as np
import numpy.typing as npt

from services.trade.candle import Candle
from services.trade.ids import digest
from services.trade.times import DAY_MS, MINUTE_MS
from services.venue.core.chance import fraction
from services.venue.core.rules import SymbolRules
from services.venue.markets.bars import Bars
from services.venue.markets.listing import plausible_funding, symbol_rules
from services.venue.markets.market import HISTORY

Floats = npt.NDArray[np.float64]

START = 1_767_571_200_000
"""2026-01-05T00:00Z, a Monday."""
_MINUTES = DAY_MS // MINUTE_MS
_OCTAVES = ((1, 0.012), (4, 0.03), (16, 0.07), (64, 0.14), (256, 0.25))
"""Days between the fixed points of each part of the curve over days, and its size (log price)."""
_ARCH, _GARCH = 0.12, 0.85
_JUMP_CHANCE = 1 / 900
_COMMON_SIGMA = 0.00055
"""Typical minute return of the common factor."""


@dataclass(frozen=True, slots=True)
class _Listing:
    symbol: str
    price: float
    price_decimals: int
    volume_decimals: int
    beta: float
    """Share of the common factor."""
    own: float
    """Typical minute return of its own."""
    turnover: float
    """Typical quote volume a minute."""


_LISTINGS = (
    _Listing("ADAUSDT", 0.42, 4, 0, 1.25, 0.00055, 180_000),
    _Listing("BNBUSDT", 890.0, 2, 2, 0.85, 0.00035, 400_000),
    _Listing("BTCUSDT", 92_000.0, 1, 3, 0.9, 0.0002, 6_000_000),
    _Listing("DOGEUSDT", 0.145, 5, 0, 1.3, 0.0006, 500_000),
    _Listing("ETHUSDT", 3_150.0, 2, 3, 1.1, 0.0003, 4_500_000),
    _Listing("LINKUSDT", 13.4, 3, 2, 1.2, 0.0005, 150_000),
    _Listing("SOLUSDT", 138.0, 2, 2, 1.2, 0.00045, 1_500_000),
    _Listing("XRPUSDT", 2.15, 4, 1, 1.1, 0.0005, 900_000),
)


class GeneratedMarket:
    """Eight made-up perpetuals under real names, 1m candles, from `START` without end."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._symbols = {
            one.symbol: symbol_rules(
                one.symbol,
                tick=Decimal(1).scaleb(-one.price_decimals),
                step=Decimal(1).scaleb(-one.volume_decimals),
            )
            for one in _LISTINGS
        }
        self._day = lru_cache(maxsize=8)(self._make_day)

    @property
    def name(self) -> str:
        """Its name and seed."""
        return f"generated-{self._seed}"

    @property
    def timeframe(self) -> str:
        """Always `1m`."""
        return "1m"

    @property
    def start(self) -> int:
        """Market time of the first round."""
        return START

    @property
    def symbols(self) -> Mapping[str, SymbolRules]:
        """All eight."""
        return self._symbols

    def trades_from(self, symbol: str) -> int:
        """Return the start: all symbols trade from there."""
        del symbol
        return START

    def history_from(self, symbol: str) -> int:
        """Return the open time of the first candle that is shown."""
        del symbol
        return START - HISTORY * MINUTE_MS

    def round(self, index: int) -> dict[str, Candle] | None:
        """Return the candles of a round; there always is one."""
        open_time = START + index * MINUTE_MS
        found = ((symbol, self.candle(symbol, open_time)) for symbol in self._symbols)
        return {symbol: candle for symbol, candle in found if candle is not None}

    def candle(self, symbol: str, open_time: int) -> Candle | None:
        """Return the candle that opens at a time."""
        bars = self._day((open_time - START) // DAY_MS).get(symbol)
        return bars.candle(open_time) if bars else None

    def funding_rate(self, symbol: str, time: int) -> Decimal:
        """Return a small rate that belongs to (seed, symbol, time)."""
        return plausible_funding(self._seed, symbol, time)

    def _make_day(self, day: int) -> dict[str, Bars]:
        draws = np.random.default_rng(int(digest("day", self._seed, day, length=16), 16))
        common = _minute_returns(draws, _COMMON_SIGMA)
        made = {}
        for one in _LISTINGS:
            returns = one.beta * common + _minute_returns(draws, one.own)
            first = log(one.price) + self._curve(one, day)
            last = log(one.price) + self._curve(one, day + 1)
            made[one.symbol] = _bars(one, day, draws, returns, first, last)
        return made

    def _curve(self, one: _Listing, day: int) -> float:
        """Return the log price at the start of a day, relative to the symbol's base price."""
        common = self._waves("common", day) - self._waves("common", 0)
        own = self._waves(one.symbol, day) - self._waves(one.symbol, 0)
        return one.beta * common + 0.6 * own

    def _waves(self, name: str, day: int) -> float:
        return sum(size * self._wave(f"{name}.{period}", day / period) for period, size in _OCTAVES)

    def _wave(self, name: str, place: float) -> float:
        low = int(place // 1)
        share = (1 - cos(pi * (place - low))) / 2
        left, right = (self._level(name, low + side) for side in (0, 1))
        return left + (right - left) * share

    def _level(self, name: str, place: int) -> float:
        drawn = (fraction(self._seed, name, place, draw) for draw in range(4))
        return float(sum(drawn, Decimal(0)) - 2) * 1.73


def _season() -> Floats:
    """Return how lively each minute of the day is: least at 04:00, most at 15:00 UTC."""
    minutes = np.arange(_MINUTES) / _MINUTES
    return np.asarray(1 + 0.35 * np.sin(2 * pi * (minutes - 0.4)) + 0.1 * np.sin(4 * pi * minutes))


def _minute_returns(draws: np.random.Generator, sigma: float) -> Floats:
    """Return a day of minute returns: GARCH(1,1) with fat tails, jumps, a rhythm of the day."""
    shocks = (draws.standard_t(5, _MINUTES) / (5 / 3) ** 0.5).tolist()
    variance = exp(draws.normal(0, 0.35))
    level = variance
    returns = []
    for shock in shocks:
        value = max(-6.0, min(6.0, shock)) * variance**0.5
        returns.append(value)
        variance = level * (1 - _ARCH - _GARCH) + _ARCH * value * value + _GARCH * variance
    jumps = draws.random(_MINUTES) < _JUMP_CHANCE
    sizes = draws.normal(0, 9, _MINUTES) * jumps
    return np.asarray((np.array(returns) + sizes) * sigma * _season())


def _bars(
    one: _Listing, day: int, draws: np.random.Generator, returns: Floats, first: float, last: float
) -> Bars:
    """Join the day's two fixed prices by the returns and make whole-number bars of the path."""
    steps = np.arange(1, _MINUTES + 1) / _MINUTES
    path = np.cumsum(returns)
    closes = first + path + (last - first - path[-1]) * steps
    opens = np.concatenate(([first], closes[:-1]))
    typical = (one.own + one.beta * _COMMON_SIGMA) * _season()
    reach = np.abs(draws.normal(0, 0.5, (2, _MINUTES))) * np.maximum(typical, np.abs(returns) * 0.5)
    highs, lows = np.maximum(opens, closes) + reach[0], np.minimum(opens, closes) - reach[1]
    prices = np.exp(np.stack([opens, highs, lows, closes], axis=1))
    excited = 0.6 + 0.6 * np.abs(returns) / typical
    quotes = one.turnover * _season() * excited * np.exp(draws.normal(0, 0.5, _MINUTES))
    volumes = quotes / prices[:, 3]
    values = np.empty((_MINUTES, 5), dtype=np.int64)
    values[:, :4] = np.maximum(1, np.rint(prices * 10.0**one.price_decimals))
    values[:, 4] = np.rint(volumes * 10.0**one.volume_decimals)
    return Bars(
        symbol=one.symbol,
        timeframe="1m",
        interval=MINUTE_MS,
        first_open=START + day * DAY_MS,
        price_decimals=one.price_decimals,
        volume_decimals=one.volume_decimals,
        values=values,
    )
