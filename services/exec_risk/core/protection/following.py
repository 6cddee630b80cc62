"""Moving stops with the market: closed candles, and price reports where the policy follows them."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core.exchange_events import PriceReport
from services.exec_risk.core.protection import guard, trailing
from services.exec_risk.core.protection.protection import AbsurdDistance, check_stop
from services.exec_risk.core.protection.protection_policy import LARGEST_FRACTION
from services.exec_risk.core.state import Book
from services.trade.candle import Candle
from services.trade.position import ExitReason, Position

_NO_STEP = Decimal(0)


def candle_closed(book: Book, candle: Candle) -> None:
    """Look at a closed candle: its extreme when all of it lies in the position's time."""
    position = book.positions.get(candle.symbol)
    if position is None or candle.close_time <= position.opened_time:
        return
    best = candle.close
    if candle.open_time >= position.opened_time:
        extreme = candle.high if position.side.sign > 0 else candle.low
        # a single odd print far from the close is not where anybody could have left
        if trailing.usable(extreme) and abs(extreme - best) < best * LARGEST_FRACTION:
            best = extreme
    _follow(book, position, best=best, price=candle.close, step=_NO_STEP)


def price_told(book: Book, report: PriceReport) -> None:
    """Look at a price report; where the policy follows candles alone it changes nothing."""
    if not book.policy.protection.follow_prices:
        return
    position = book.positions.get(report.symbol)
    if position is None or report.time <= position.opened_time:
        return
    # each change is a commit, so only half of what can move a stop is looked at
    step = book.policy.protection.replace_fraction / 2
    _follow(book, position, best=report.mark, price=report.mark, step=step)


def _follow(
    book: Book, position: Position, *, best: Decimal, price: Decimal, step: Decimal
) -> None:
    if position.exit_reason is not None or not trailing.usable(price):
        return
    try:
        ride = guard.ride_of(book, position)
    except AbsurdDistance:
        return  # keeping it protected tells and closes
    known = guard.progress_of(book, position)
    found = trailing.seen(known, ride, best, step)
    found = trailing.moved(found, ride, book.policy.protection)
    if found is known:
        return
    guard.keep_progress(book, found)
    if found.stop_price is None or found.stop_price == known.stop_price:
        return
    farthest = ride.entry * ride.stop_fraction + book.filters[position.symbol].tick_size
    try:
        check_stop(ride.side, ride.entry, found.stop_price, price, farthest)
    except AbsurdDistance as error:
        guard.close(book, position, ExitReason.TRAILING_STOP, str(error))
        return
    guard.keep_protected(book, position.symbol)
