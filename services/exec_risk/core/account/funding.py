"""How funding changes the account. A settlement applies once."""

from __future__ import annotations

from dataclasses import replace

from services.exec_risk.core.exchange_events import FundingReport
from services.exec_risk.core.facts import FundingPaid, PositionChanged
from services.exec_risk.core.state import Book


def apply_funding(book: Book, report: FundingReport) -> None:
    """Apply a funding settlement once by its transaction id."""
    if report.transaction_id in book.seen_funding or report.time <= book.begun_time:
        return
    book.seen_funding[report.transaction_id] = report.time
    book.time = max(book.time, report.time)
    day = book.day(report.time)
    if book.wallet is not None:
        book.wallet += report.amount
    position = book.positions.get(report.symbol)
    owner = ""
    if position is not None:
        owner = position.position_id
        changed = replace(
            position, funding=position.funding + report.amount, version=position.version + 1
        )
        book.positions[report.symbol] = changed
        book.emit(PositionChanged(changed))
    day.pnl += report.amount
    book.store_day(day)
    book.emit(
        FundingPaid(
            report.symbol,
            report.amount,
            report.time,
            report.transaction_id,
            owner,
            book.trace(owner),
        )
    )
    book.store_account()
