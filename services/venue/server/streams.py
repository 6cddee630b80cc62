"""The WebSocket streams: subscriptions, what each stream says, and pushing a step to everybody."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from services.trade.times import timeframe_ms
from services.venue.core.rejections import Rejection
from services.venue.core.steps import Point
from services.venue.exchange import Advance, PaperExchange
from services.venue.server.books import Books
from services.venue.server.candles import Candles, closed_bar, kline_event
from services.venue.server.faulty_streams import FaultyStreams
from services.venue.server.formats import user_event
from services.venue.server.quotes import Quotes
from services.venue.server.sockets import Parcel, Socket

_QUOTE_EVERY_MS = 250
"""Wall time between two pushes of prices and forming bars; closed bars are always pushed."""
_PARTIAL = ("5", "10", "20")
_ALL = {
    "!bookTicker": "bookTicker",
    "!markPrice@arr": "markPrice",
    "!markPrice@arr@1s": "markPrice",
    "!miniTicker@arr": "miniTicker",
    "!ticker@arr": "ticker",
}
Message = dict[str, Any] | list[dict[str, Any]]
"""One message of a stream, before it becomes text."""


class Streams:
    """All market and user sockets."""

    def __init__(
        self,
        exchange: PaperExchange,
        candles: Candles,
        quotes: Quotes,
        books: Books,
        wall_ms: Callable[[], int],
        faulty: FaultyStreams,
    ) -> None:
        self._exchange = exchange
        self._faulty = faulty
        self._candles = candles
        self._quotes = quotes
        self._books = books
        self._wall_ms = wall_ms
        self._quoted = 0
        self.market = faulty.sockets.market
        self.user = faulty.sockets.user

    def subscribe(self, socket: Socket, streams: Iterable[str]) -> list[Message]:
        """Add streams to a socket; return messages that say where they stand now."""
        messages: list[Message] = []
        for stream in streams:
            if stream not in socket.streams:
                socket.streams.add(stream)
                if _is_diff(stream):
                    self._books.touch([_split(stream)[0]])
                messages += self._current(stream)
        return messages

    def prices(self, points: Iterable[Point]) -> dict[str, dict[str, Any]]:
        """Return mark, bid, ask, funding rate and next funding of what a step moved."""
        trading = self._exchange.engine.state.marks
        return {
            point.symbol: self._quotes.price_of(point.symbol)
            for point in points
            if point.symbol in trading
        }

    async def push(self, advance: Advance) -> int:
        """Send a step's events to all sockets; return how many user events it had.

        Events that a fault swallows count too: the market made them.
        """
        number_of_step = advance.step.number
        told = (user_event(event, number_of_step) for event in advance.events)
        messages = [message for message in told if message is not None]
        parcels = self._faulty.posts(messages)
        for socket in list(self.user):
            socket.last_step = number_of_step
            if parcels:
                await socket.send(parcels)
        await self._push_market(advance)
        return len(messages)

    async def _push_market(self, advance: Advance) -> None:
        now = self._wall_ms()
        due = now - self._quoted >= _QUOTE_EVERY_MS
        followed = {_split(s)[0] for one in self.market for s in one.streams if _is_diff(s)}
        self._books.touch(followed)
        if due:
            self._quoted = now
        if not due and not advance.step.closed:
            return
        closed = {candle.symbol: candle for candle in advance.step.closed}
        ready: dict[str, list[Parcel]] = {}
        for socket in list(self.market):
            parcels: list[Parcel] = []
            for stream in sorted(socket.streams):
                if stream not in ready:
                    messages = self._step_messages(stream, closed, due=due)
                    ready[stream] = self._faulty.posts(messages)
                parcels += ready[stream]
            if parcels:
                await socket.send(parcels)
        if due:
            self._books.told()

    def _step_messages(self, stream: str, closed: dict[str, Any], *, due: bool) -> list[Message]:
        symbol, kind = _split(stream)
        if kind.startswith("kline_"):
            interval = kind.removeprefix("kline_")
            candle = closed.get(symbol)
            if candle is not None:
                return [self._closed_kline(symbol, interval, candle)]
            return self._forming_kline(symbol, interval) if due else []
        if not due:
            return []
        if _is_diff(stream) and symbol in self._exchange.engine.state.marks:
            return [self._books.difference(symbol)]
        return self._current(stream)

    def _current(self, stream: str) -> list[Message]:
        """Return where a stream stands now; a candle that closed at this step is told again."""
        symbol, kind = _split(stream)
        if stream in _ALL:
            return self._all(_ALL[stream])
        if symbol not in self._exchange.engine.state.marks:
            return []
        if kind.startswith("kline_"):
            interval, step = kind.removeprefix("kline_"), self._exchange.last_step
            for candle in step.closed if step else ():
                if candle.symbol == symbol:
                    return [self._closed_kline(symbol, interval, candle)]
            return self._forming_kline(symbol, interval)
        message = self._message(symbol, kind)
        return [message] if message else []

    def _all(self, kind: str) -> list[Message]:
        messages = [self._message(symbol, kind) for symbol in self._quotes.trading()]
        found = [message for message in messages if message]
        if kind == "bookTicker":
            return list(found)
        return [found] if found else []

    def _message(self, symbol: str, kind: str) -> dict[str, Any] | None:
        step = self._exchange.number
        if kind == "bookTicker":
            return self._quotes.book_event(symbol, step)
        if kind.startswith("markPrice"):
            return self._quotes.mark_event(symbol, step)
        if kind in ("trade", "aggTrade"):
            return self._books.trade(symbol, kind, self._exchange.last_step)
        if kind.startswith("depth") and not _is_diff(f"{symbol}@{kind}"):
            levels = kind.partition("@")[0].removeprefix("depth")
            return self._books.partial(symbol, int(levels)) if levels in _PARTIAL else None
        if kind in ("miniTicker", "ticker"):
            return _ticker(self._candles.day(symbol), kind, self._exchange.time, step)
        return None

    def _closed_kline(self, symbol: str, interval: str, candle: Any) -> Message:
        time, step = self._exchange.time, self._exchange.number
        bar = closed_bar(candle)
        if interval != candle.timeframe:
            length = timeframe_ms(interval)
            open_time = candle.open_time // length * length
            found = self._candles.bars(
                symbol, interval, since=open_time, until=candle.open_time, limit=1
            )
            bar = found[0] if found else bar
        return kline_event(symbol, interval, bar, time=time, step=step)

    def _forming_kline(self, symbol: str, interval: str) -> list[Message]:
        try:
            bars = self._candles.bars(symbol, interval, since=None, until=None, limit=1)
        except Rejection:
            return []
        time, step = self._exchange.time, self._exchange.number
        return [kline_event(symbol, interval, b, time=time, step=step) for b in bars]


def known_streams(names: Sequence[Any], symbols: Iterable[str]) -> list[str]:
    """Return the stream names; refuse what is not a stream of a known symbol."""
    known = set(symbols)
    for name in names:
        if not isinstance(name, str) or not (name in _ALL or _split(name)[0] in known):
            raise Rejection(2, f"Invalid request: unknown stream {name!r}")
    return list(names)


def _split(stream: str) -> tuple[str, str]:
    symbol, _, kind = stream.partition("@")
    return symbol.upper(), kind


def _is_diff(stream: str) -> bool:
    """Tell whether a stream tells the changes of a book: depth, depth@100ms and the like."""
    return stream.partition("@")[2].partition("@")[0] == "depth"


def _ticker(day: dict[str, Any], kind: str, time: int, step: int) -> dict[str, Any] | None:
    if "openPrice" not in day:
        return None
    mini = kind == "miniTicker"
    message = {
        "e": "24hrMiniTicker" if mini else "24hrTicker",
        "E": time,
        "s": day["symbol"],
        "c": day["lastPrice"],
        "o": day["openPrice"],
        "h": day["highPrice"],
        "l": day["lowPrice"],
        "v": day["volume"],
        "q": day["quoteVolume"],
        "pn": step,
    }
    if not mini:
        message |= {"p": day["priceChange"], "P": day["priceChangePercent"]}
        message |= {"w": day["weightedAvgPrice"], "O": day["openTime"], "C": time}
    return message
