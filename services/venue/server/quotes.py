"""Bid, ask, mark and funding of a symbol as the venue shows them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.venue.core.depth import SHOWN_NOTIONAL, best_prices
from services.venue.core.rejections import symbol_closed
from services.venue.exchange import PaperExchange
from services.venue.server.formats import number


@dataclass(frozen=True, slots=True)
class Quote:
    """Best prices of a symbol and what stands there."""

    symbol: str
    mark: Decimal
    bid: Decimal
    ask: Decimal
    size: Decimal


class Quotes:
    """Derives quotes from the last price."""

    def __init__(self, exchange: PaperExchange) -> None:
        self._exchange = exchange

    def of(self, symbol: str) -> Quote:
        """Return a symbol's quote; refuse one that does not trade yet."""
        state = self._exchange.engine.state
        filters = self._exchange.engine.rules_of(symbol).filters
        mark = state.marks.get(symbol)
        if mark is None:
            raise symbol_closed()
        bid, ask = best_prices(state.rules, filters, mark)
        return Quote(symbol, mark, bid, ask, filters.ceil_quantity(SHOWN_NOTIONAL / mark))

    def trading(self) -> list[str]:
        """Return the symbols that trade now, by name."""
        return sorted(self._exchange.engine.state.marks)

    def next_funding(self) -> int:
        """Return the next time at which funding is paid."""
        every = self._exchange.engine.state.rules.funding_interval_ms
        return self._exchange.time // every * every + every

    def funding_rate(self, symbol: str) -> Decimal:
        """Return the rate that will be paid at the next funding time."""
        return self._exchange.market.funding_rate(symbol, self.next_funding())

    def price_of(self, symbol: str) -> dict[str, Any]:
        """Return a symbol's prices as a point of the paper clock tells them."""
        quote = self.of(symbol)
        return {
            "p": number(quote.mark),
            "b": number(quote.bid),
            "a": number(quote.ask),
            "r": number(self.funding_rate(symbol)),
            "T": self.next_funding(),
        }

    def book_event(self, symbol: str, step: int) -> dict[str, Any]:
        """Return the best prices as the bookTicker stream tells them."""
        quote, time = self.of(symbol), self._exchange.time
        return {
            "e": "bookTicker",
            "u": step,
            "s": symbol,
            "b": number(quote.bid),
            "B": number(quote.size),
            "a": number(quote.ask),
            "A": number(quote.size),
            "T": time,
            "E": time,
            "pn": step,
        }

    def mark_event(self, symbol: str, step: int) -> dict[str, Any]:
        """Return mark price and funding as the markPrice stream tells them."""
        mark = number(self.of(symbol).mark)
        return {
            "e": "markPriceUpdate",
            "E": self._exchange.time,
            "s": symbol,
            "p": mark,
            "i": mark,
            "P": mark,
            "r": number(self.funding_rate(symbol)),
            "T": self.next_funding(),
            "pn": step,
        }
