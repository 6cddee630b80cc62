"""Order book and public trades as REST and the streams show them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from services.venue.core.depth import DEEPEST, Ladder, Level, ladder
from services.venue.core.rejections import symbol_closed
from services.venue.core.steps import Step
from services.venue.exchange import PaperExchange
from services.venue.server.formats import number


class Books:
    """Derives book and trades from the last step; remembers what the depth stream has told."""

    def __init__(self, exchange: PaperExchange) -> None:
        self._exchange = exchange
        self._told = 0
        self._touched: dict[str, set[Decimal]] = {}

    def of(self, symbol: str, levels: int = DEEPEST) -> Ladder:
        """Return a symbol's book now; refuse one that does not trade yet."""
        state = self._exchange.engine.state
        filters = self._exchange.engine.rules_of(symbol).filters
        mark = state.marks.get(symbol)
        if mark is None:
            raise symbol_closed()
        return ladder(
            state.rules,
            filters,
            symbol=symbol,
            seed=state.seed,
            number=state.number,
            mark=mark,
            levels=levels,
        )

    def rest(self, symbol: str, levels: int) -> dict[str, Any]:
        """Return the answer to GET depth."""
        book, time = self.of(symbol, levels), self._exchange.time
        return {
            "lastUpdateId": self._exchange.number,
            "E": time,
            "T": time,
            "bids": _levels(book.bids),
            "asks": _levels(book.asks),
        }

    def touch(self, symbols: Iterable[str]) -> None:
        """Remember the prices of this step, so that the next difference can end them."""
        for symbol in symbols:
            if symbol in self._exchange.engine.state.marks:
                book = self.of(symbol)
                seen = self._touched.setdefault(symbol, set())
                seen.update(price for price, _ in (*book.bids, *book.asks))

    def told(self) -> None:
        """Begin a new difference at this step: all that listen were told."""
        self._told = self._exchange.number
        symbols = list(self._touched)
        self._touched.clear()
        self.touch(symbols)

    def difference(self, symbol: str) -> dict[str, Any]:
        """Return all changes since the last difference; levels that are gone have quantity 0."""
        book = self.of(symbol)
        gone = self._touched.get(symbol, set())
        ended = [(price, Decimal(0)) for price in sorted(gone)]
        first = min(self._told + 1, self._exchange.number)
        return self._update(symbol, first, [*ended, *book.bids], [*ended, *book.asks])

    def partial(self, symbol: str, levels: int) -> dict[str, Any]:
        """Return the best levels, whole, as the streams depth5, depth10, depth20 tell them."""
        book = self.of(symbol, levels)
        return self._update(symbol, self._exchange.number, book.bids, book.asks)

    def trade(self, symbol: str, kind: str, step: Step | None) -> dict[str, Any] | None:
        """Return the market's trade of a step, of kind `trade` or `aggTrade`; None without one."""
        point = next((p for p in step.points if p.symbol == symbol), None) if step else None
        if point is None or not point.volume:
            return None
        ids = {"t": self._exchange.number} if kind == "trade" else self._span()
        mark, time = self._exchange.engine.state.marks[symbol], self._exchange.time
        return {
            "e": kind,
            "E": time,
            "s": symbol,
            **ids,
            "p": number(mark),
            "q": number(point.volume),
            "T": time,
            "m": self._exchange.number % 2 == 1,
            "pn": self._exchange.number,
        }

    def _span(self) -> dict[str, int]:
        own = self._exchange.number
        return {"a": own, "f": own, "l": own}

    def _update(
        self, symbol: str, first: int, bids: Iterable[Level], asks: Iterable[Level]
    ) -> dict[str, Any]:
        time, own = self._exchange.time, self._exchange.number
        return {
            "e": "depthUpdate",
            "E": time,
            "T": time,
            "s": symbol,
            "U": first,
            "u": own,
            "pu": self._told,
            "b": _levels(bids),
            "a": _levels(asks),
            "pn": own,
        }


def _levels(levels: Iterable[Level]) -> list[list[str]]:
    return [[number(price), number(size)] for price, size in levels]
