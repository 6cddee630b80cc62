"""What the exchange tells of prices, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable

from services.exec_risk.core import emergency
from services.exec_risk.core.exchange_events import PriceReport
from services.exec_risk.core.executions.execution_book import Quote as BookQuote
from services.exec_risk.core.market import Quote
from services.exec_risk.core.protection import following
from services.exec_risk.core.state import Book


def heard(book: Book, reports: Iterable[PriceReport]) -> None:
    """Know what an earlier term was told: what follows from it was decided then.

    Without it a term would begin by the prices of the last round, and by no quotes.
    """
    for report in reports:
        book.priced = max(book.priced, report.time)
        known = book.prices.get(report.symbol)
        if known is None or known[1] <= report.time:
            book.prices[report.symbol] = (report.mark, report.time)
        _quote(book, report)


def told(book: Book, report: PriceReport) -> None:
    """Take over a symbol's price unless a newer one is known."""
    if report.time > book.priced:
        # every price of the moment before is known only now
        emergency.watch(book)
        book.priced = report.time
    known = book.prices.get(report.symbol)
    if known is None or known[1] <= report.time:
        book.prices[report.symbol] = (report.mark, report.time)
        _quote(book, report)
        following.price_told(book, report)


def _quote(book: Book, report: PriceReport) -> None:
    quote = book.quotes.get(report.symbol, Quote(report.time))
    book.quotes[report.symbol] = quote.updated(
        report.time, report.bid, report.ask, report.funding_rate
    )
    if report.bid and report.ask:
        known_book = BookQuote(report.bid, report.ask, report.time)
        book.executing.quotes[report.symbol] = known_book
