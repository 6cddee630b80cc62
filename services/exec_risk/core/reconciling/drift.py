"""What is held here against what the exchange holds: booked as a fill when two readings agree."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core.account import fills
from services.exec_risk.core.actions import Reconcile
from services.exec_risk.core.exchange_events import ExchangePosition, ExchangeSnapshot
from services.exec_risk.core.facts import ReconcileRepaired
from services.exec_risk.core.reconciling.differences import QUANTITIES, Key
from services.exec_risk.core.state import Book
from services.trade import ids
from services.trade.order import Fill
from services.trade.position import PositionSide


def compare(book: Book, snapshot: ExchangeSnapshot, confirmed: frozenset[Key]) -> None:
    """Correct a difference that two readings in a row show; one may be a fill on its way."""
    theirs = {p.symbol: p for p in snapshot.account.positions if p.quantity}
    for symbol in sorted({*theirs, *book.positions, *book.drift}):
        ours = book.positions.get(symbol)
        held = ours.quantity * ours.side.sign if ours else Decimal(0)
        there = theirs[symbol].quantity if symbol in theirs else Decimal(0)
        if held == there:
            book.drift.pop(symbol, None)
        elif book.drift.get(symbol) == (held, there) or any(
            named == symbol and kind in QUANTITIES for kind, named, _ in confirmed
        ):
            book.drift.pop(symbol, None)
            _correct(book, symbol, held, there, theirs.get(symbol))
        else:
            book.drift[symbol] = (held, there)
            book.emit(Reconcile("position differs"))


def _correct(
    book: Book,
    symbol: str,
    held: Decimal,
    there: Decimal,
    theirs: ExchangePosition | None,
) -> None:
    """Book the difference as a fill of the exchange's own, at the best price that is known."""
    change = there - held
    price = _evidence_price(book, symbol, held, theirs)
    if price is None:
        text = f"{symbol}: {held} here, {there} there, and no price to book it at"
        book.alert("CRITICAL", "POSITION_DRIFT", text, symbol=symbol)
        return
    side = (PositionSide.LONG if change > 0 else PositionSide.SHORT).entry_side
    trade = ids.digest("drift", symbol, str(held), str(there), book.time, length=24)
    text = f"{symbol}: {held} here, {there} on the exchange; booked {change} at {price}"
    book.alert("HIGH", "POSITION_DRIFT", text, symbol=symbol)
    book.emit(ReconcileRepaired(symbol, "position_drift", text, book.time, trade))
    fills.apply_fill(
        book,
        Fill(
            trade_id=f"drift-{trade}",
            account=book.policy.account,
            symbol=symbol,
            client_order_id=f"drift-{trade}",
            side=side,
            price=price,
            quantity=abs(change),
            commission=Decimal(0),
            realized_pnl=Decimal(0),
            maker=False,
            time=book.time,
        ),
    )


def _evidence_price(
    book: Book, symbol: str, held: Decimal, theirs: ExchangePosition | None
) -> Decimal | None:
    if theirs is not None and not held and theirs.entry_price > 0:
        return theirs.entry_price
    if theirs is not None and theirs.mark_price > 0:
        return theirs.mark_price
    last = book.price(symbol)
    ours = book.positions.get(symbol)
    return last or (ours.entry_price if ours else None)
