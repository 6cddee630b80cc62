"""Comparing what is stored with what the exchange says, and putting it right.

The exchange is the truth for what exists; a difference is repaired through the fills and reports
that explain it, and every repair is told.
"""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core import emergency, fills, guard, orders
from services.exec_risk.core.effects import Reconcile, ReconcileRepaired
from services.exec_risk.core.exchange_events import ExchangePosition, ExchangeSnapshot
from services.exec_risk.core.state import LIVE_ON_EXCHANGE, Book
from services.trade import ids
from services.trade.order import Fill, OrderState
from services.trade.position import PositionSide

START = "start"
"""Cause of the reading with which a term begins: nothing of ours is on its way then."""


def apply_snapshot(book: Book, snapshot: ExchangeSnapshot, cause: str) -> None:
    """Compare everything with a reading of the exchange and repair what differs."""
    book.time = max(book.time, snapshot.account.time)
    _history(book, snapshot)
    book.leverage.update(snapshot.leverage)
    _positions(book, snapshot)
    _orders(book, snapshot, started=cause == START)
    _wallet(book, snapshot.account.wallet_balance)
    emergency.note_peak(book)
    emergency.watch(book)
    book.exit_hold.clear()
    for symbol in sorted(book.positions):
        guard.keep_protected(book, symbol)
    book.store_account(published=True)


def _history(book: Book, snapshot: ExchangeSnapshot) -> None:
    """Apply what was missed; on an account that was never read before only remember it."""
    fresh = book.wallet is None
    for fill in sorted(snapshot.fills, key=lambda f: (f.time, f.symbol, f.trade_id)):
        if fresh:
            book.seen_fills[fill.symbol, fill.trade_id] = fill.time
        else:
            fills.apply_fill(book, fill, "reconcile")
    for report in sorted(snapshot.funding, key=lambda r: (r.time, r.transaction_id)):
        if fresh:
            book.seen_funding[report.transaction_id] = report.time
        else:
            fills.apply_funding(book, report)


def _wallet(book: Book, wallet: Decimal) -> None:
    if book.wallet is not None and book.wallet != wallet:
        text = f"wallet was {book.wallet}, the exchange says {wallet}"
        _repaired(book, "", "wallet", text, f"{book.time}.{wallet}")
    book.wallet = wallet
    today = book.day(book.time)
    if today.start_equity is None:
        today.start_equity = book.equity()
        book.store_day(today)


def _orders(book: Book, snapshot: ExchangeSnapshot, *, started: bool) -> None:
    """Take over resting orders; ask for ours that do not rest; cancel those that nobody owns."""
    resting = {r.client_order_id: r for r in snapshot.open_orders}
    for order in book.live_orders():
        report = resting.get(order.client_order_id)
        if report is not None:
            orders.apply_report(book, order, report, "reconcile")
        elif order.state in LIVE_ON_EXCHANGE:
            orders.lost(book, order, "not among the open orders")
        elif not started:
            continue  # its own answer is on its way
        elif order.state is OrderState.INTENT:
            orders.move(book, order, OrderState.CANCELED, "never_sent", reason="restart")
        else:
            orders.lost(book, order, "not among the open orders")
    for client_id in sorted(set(resting) - set(book.orders)):
        report = resting[client_id]
        text = f"{report.symbol} order {client_id} rests on the exchange and is not ours"
        book.alert("MEDIUM", "UNKNOWN_ORDER", text, symbol=report.symbol)


def _positions(book: Book, snapshot: ExchangeSnapshot) -> None:
    """Correct a difference that two readings in a row show; one may be a fill on its way."""
    theirs = {p.symbol: p for p in snapshot.account.positions if p.quantity}
    for symbol in sorted(set(theirs) | set(book.positions)):
        ours = book.positions.get(symbol)
        held = ours.quantity * ours.side.sign if ours else Decimal(0)
        there = theirs[symbol].quantity if symbol in theirs else Decimal(0)
        if held == there:
            book.drift.pop(symbol, None)
        elif book.drift.get(symbol) == (held, there):
            del book.drift[symbol]
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
    _repaired(book, symbol, "position_drift", text, trade)
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


def _repaired(book: Book, symbol: str, kind: str, detail: str, evidence: str) -> None:
    book.emit(ReconcileRepaired(symbol, kind, detail, book.time, evidence))
