"""Binance's public messages as candles, ticks and steps. Pure: no ccxt, no socket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.trade.candle import Candle
from services.trade.filters import SymbolFilters
from services.venue.core.rules import SymbolRules
from services.venue.core.steps import Point, Step
from services.venue.markets.feed import Moment
from services.venue.markets.listing import default_brackets
from services.venue.markets.market import VENUE

_SILENCE_MS = 5_000
"""After so long without news of a symbol its price has jumped, not moved."""


@dataclass(frozen=True, slots=True)
class Tick:
    """One kline message: last price, volume of the bar so far, and the bar when it closed."""

    symbol: str
    time: int
    open_time: int
    price: Decimal
    bar_volume: Decimal
    closed: Candle | None


def rules_of(info: Mapping[str, Any]) -> SymbolRules:
    """Return a symbol's rules from its entry in exchangeInfo."""
    filters = {entry["filterType"]: entry for entry in info["filters"]}
    lot, market_lot = filters["LOT_SIZE"], filters["MARKET_LOT_SIZE"]
    brackets = default_brackets(str(info["symbol"]))
    return SymbolRules(
        SymbolFilters(
            symbol=str(info["symbol"]),
            tick_size=_plain(filters["PRICE_FILTER"]["tickSize"]),
            step_size=_plain(lot["stepSize"]),
            min_quantity=_plain(lot["minQty"]),
            max_quantity=_plain(lot["maxQty"]),
            market_max_quantity=_plain(market_lot["maxQty"]),
            min_notional=_plain(filters["MIN_NOTIONAL"]["notional"]),
            max_leverage=brackets[0].initial_leverage,
        ),
        brackets,
    )


def candle_of(symbol: str, row: Sequence[Any]) -> Candle:
    """Return a row of REST klines as a candle."""
    first, high, low, last, volume = (Decimal(str(value)) for value in row[1:6])
    return Candle(VENUE, symbol, "1m", int(row[0]), first, high, low, last, volume)


def tick_of(message: Mapping[str, Any]) -> Tick:
    """Return a kline message of the WebSocket as a tick."""
    bar = message["k"]
    symbol = str(message["s"])
    row = (bar["t"], bar["o"], bar["h"], bar["l"], bar["c"], bar["v"])
    return Tick(
        symbol=symbol,
        time=int(message["E"]),
        open_time=int(bar["t"]),
        price=Decimal(bar["c"]),
        bar_volume=Decimal(bar["v"]),
        closed=candle_of(symbol, row) if bar["x"] else None,
    )


class Gathering:
    """Joins ticks into moments. Pure: told ticks, asked for moments."""

    def __init__(self, funding_interval_ms: int, time: int) -> None:
        self._funding_interval = funding_interval_ms
        self._time = time
        self._last: dict[str, Tick] = {}
        self._changed: dict[str, tuple[Tick, Decimal, bool]] = {}
        self._closed: dict[str, Candle] = {}

    @property
    def open(self) -> bool:
        """True when there is something to make a moment of."""
        return bool(self._changed)

    def closing(self, symbols: Sequence[str]) -> tuple[bool, bool]:
        """Tell whether a round is closing, and whether all symbols have closed it."""
        return bool(self._closed), len(self._closed) >= len(symbols)

    def take(self, tick: Tick) -> None:
        """Take one tick."""
        before = self._last.get(tick.symbol)
        traded = tick.bar_volume
        near = before is not None and tick.time - before.time <= _SILENCE_MS
        if before is not None and before.open_time == tick.open_time:
            traded = max(Decimal(0), tick.bar_volume - before.bar_volume)
        waiting = self._changed.get(tick.symbol)
        if waiting is not None:
            traded, near = traded + waiting[1], near and waiting[2]
        self._changed[tick.symbol] = (tick, traded, near)
        self._last[tick.symbol] = tick
        if tick.closed is not None:
            self._closed[tick.symbol] = tick.closed

    def moment(self, number: int, rates: Mapping[str, Decimal]) -> Moment:
        """Return everything since the last moment as one step."""
        points = tuple(
            Point(symbol, tick.price, volume, continuous)
            for symbol, (tick, volume, continuous) in sorted(self._changed.items())
        )
        closed = tuple(candle for _, candle in sorted(self._closed.items()))
        heard = max((tick.time for tick, _, _ in self._changed.values()), default=self._time)
        time = max((candle.close_time for candle in closed), default=heard)
        before, self._time = self._time, max(self._time, time)
        self._changed, self._closed = {}, {}
        every = self._funding_interval
        due = self._time // every > before // every
        return Moment(Step(number, self._time, points, closed), dict(rates) if due else {})


def _plain(value: Any) -> Decimal:
    """Return a filter's number without trailing zeros and without an exponent."""
    return Decimal(f"{Decimal(str(value)).normalize():f}")
