"""Klines, forming bars and 24-hour figures, out of the market's candles up to now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.trade.candle import Candle
from services.trade.times import DAY_MS, timeframe_ms
from services.venue.core.rejections import Rejection
from services.venue.exchange import Forming, PaperExchange
from services.venue.server.formats import number


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar that may still be forming. Times in milliseconds of market time."""

    open_time: int
    close_time: int
    """Last millisecond of the bar."""
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote: Decimal
    closed: bool


class Candles:
    """What the venue shows of the past and of the bar that forms."""

    def __init__(self, exchange: PaperExchange) -> None:
        self._exchange = exchange
        self._interval = timeframe_ms(exchange.market.timeframe)
        self._days: dict[str, tuple[int, dict[str, Any]]] = {}

    def bars(
        self, symbol: str, interval: str, *, since: int | None, until: int | None, limit: int
    ) -> list[Bar]:
        """Return bars oldest first; the last one is forming unless `until` lies before it."""
        length = self._length(interval)
        now, first = self._exchange.time, self._exchange.market.history_from(symbol)
        last = now // length * length
        end = last if until is None else min(last, until // length * length)
        start = end - (limit - 1) * length if since is None else -(-since // length) * length
        start = max(start, first // length * length)
        made = []
        for open_time in range(start, end + 1, length):
            bar = self._bar(symbol, open_time, length)
            if bar is not None:
                made.append(bar)
                if len(made) == limit:
                    break
        return made

    def forming(self, symbol: str) -> Bar | None:
        """Return the bar of the market's own timeframe that forms now."""
        now = self._exchange.time
        return self._bar(symbol, now // self._interval * self._interval, self._interval)

    def day(self, symbol: str) -> dict[str, Any]:
        """Return the figures of the last 24 hours; made anew once a candle."""
        closed = self._exchange.time // self._interval
        known = self._days.get(symbol)
        if known is None or known[0] != closed:
            known = (closed, self._day(symbol))
            self._days[symbol] = known
        return {**known[1], "lastPrice": number(self._exchange.engine.state.marks[symbol])}

    def _day(self, symbol: str) -> dict[str, Any]:
        now = self._exchange.time
        first = max(now - DAY_MS, self._exchange.market.history_from(symbol))
        bars = list(self._closed(symbol, first // self._interval * self._interval, now))
        if not bars:
            return {}
        volume = sum((bar.volume for bar in bars), Decimal(0))
        quote = sum((bar.volume * bar.close for bar in bars), Decimal(0))
        change = bars[-1].close - bars[0].open
        return {
            "symbol": symbol,
            "priceChange": number(change),
            "priceChangePercent": f"{change / bars[0].open * 100:.3f}",
            "weightedAvgPrice": f"{quote / volume:.8f}" if volume else "0",
            "lastQty": number(bars[-1].volume),
            "openPrice": number(bars[0].open),
            "highPrice": number(max(bar.high for bar in bars)),
            "lowPrice": number(min(bar.low for bar in bars)),
            "volume": number(volume),
            "quoteVolume": f"{quote:.8f}",
            "openTime": bars[0].open_time,
            "closeTime": now,
            "firstId": 1,
            "lastId": len(bars),
            "count": len(bars),
        }

    def _length(self, interval: str) -> int:
        try:
            length = timeframe_ms("7d" if interval == "1w" else interval)
        except ValueError:
            raise Rejection(-1120, "Invalid interval.") from None
        if length % self._interval:
            raise Rejection(-1120, "Invalid interval.")
        return length

    def _bar(self, symbol: str, open_time: int, length: int) -> Bar | None:
        end, now = open_time + length, self._exchange.time
        parts = list(self._closed(symbol, open_time, min(end, now)))
        bars = [closed_bar(candle) for candle in parts]
        if end > now:
            current = self._current(symbol)
            if current is not None:
                bars.append(current)
        return _joined(bars, open_time, end - 1, closed=end <= now) if bars else None

    def _closed(self, symbol: str, start: int, end: int) -> Iterator[Candle]:
        """Yield the candles that open from `start` on and close at `end` or before."""
        for open_time in range(start, end - self._interval + 1, self._interval):
            candle = self._exchange.market.candle(symbol, open_time)
            if candle is not None:
                yield candle

    def _current(self, symbol: str) -> Bar | None:
        """Return what the path of the running candle has shown, or a bar of the last price."""
        state = self._exchange.engine.state
        mark = state.marks.get(symbol)
        if mark is None:
            return None
        open_time = state.time // self._interval * self._interval
        running = self._exchange.forming.get(symbol)
        shown = running or Forming(mark, mark, mark, mark, Decimal(0))
        return Bar(
            open_time,
            open_time + self._interval - 1,
            shown.open,
            shown.high,
            shown.low,
            shown.close,
            shown.volume,
            shown.volume * shown.close,
            closed=False,
        )


def row(bar: Bar) -> list[Any]:
    """Return a bar as REST klines answer it."""
    return [
        bar.open_time,
        number(bar.open),
        number(bar.high),
        number(bar.low),
        number(bar.close),
        number(bar.volume),
        bar.close_time,
        f"{bar.quote:.8f}",
        1,
        number(bar.volume / 2),
        f"{bar.quote / 2:.8f}",
        "0",
    ]


def kline_event(symbol: str, interval: str, bar: Bar, *, time: int, step: int) -> dict[str, Any]:
    """Return a bar as the kline stream tells it."""
    return {
        "e": "kline",
        "E": time,
        "s": symbol,
        "pn": step,
        "k": {
            "t": bar.open_time,
            "T": bar.close_time,
            "s": symbol,
            "i": interval,
            "f": 1,
            "L": 1,
            "o": number(bar.open),
            "c": number(bar.close),
            "h": number(bar.high),
            "l": number(bar.low),
            "v": number(bar.volume),
            "n": 1,
            "x": bar.closed,
            "q": f"{bar.quote:.8f}",
            "V": number(bar.volume / 2),
            "Q": f"{bar.quote / 2:.8f}",
            "B": "0",
        },
    }


def closed_bar(candle: Candle) -> Bar:
    """Return a closed candle as a bar."""
    return Bar(
        candle.open_time,
        candle.close_time - 1,
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        candle.volume,
        candle.volume * candle.close,
        closed=True,
    )


def _joined(bars: Sequence[Bar], open_time: int, close_time: int, *, closed: bool) -> Bar:
    return Bar(
        open_time,
        close_time,
        bars[0].open,
        max(bar.high for bar in bars),
        min(bar.low for bar in bars),
        bars[-1].close,
        sum((bar.volume for bar in bars), Decimal(0)),
        sum((bar.quote for bar in bars), Decimal(0)),
        closed,
    )
