"""Comparing what is stored with what the exchange says, and putting it right.

The exchange is the truth for what exists; a difference is repaired through the fills and reports
that explain it, and every repair is told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal

from services.exec_risk.core import emergency, isolation
from services.exec_risk.core.account import fills, funding
from services.exec_risk.core.actions import Place, Reconcile, SetLeverage
from services.exec_risk.core.effects import Answer
from services.exec_risk.core.exchange_events import (
    ExchangeSnapshot,
)
from services.exec_risk.core.facts import ReconcileRepaired
from services.exec_risk.core.inputs import LeverageAnswered, ReconcileNow
from services.exec_risk.core.orders import orders, sending_again
from services.exec_risk.core.orders.order_kinds import LIVE_ON_EXCHANGE
from services.exec_risk.core.protection import guard
from services.exec_risk.core.reconciling import drift, owners, strays
from services.exec_risk.core.reconciling.differences import (
    Difference,
    Key,
    Kind,
    differences,
)
from services.exec_risk.core.risk import entries
from services.exec_risk.core.state import Book
from services.trade.order import Fill, Order, OrderState
from services.trade.times import utc_day

START = "start"
"""Cause of the reading with which a term begins: nothing of ours is on its way then."""
VERIFY = "verify"
"""Cause of the readings that come now and then: they change nothing where both sides agree."""
VERIFY_AGAIN = "verify again"
"""Cause of the reading that confirms what a verifying one found."""
ASKED = "asked by an operator"
_CAREFUL = (ASKED, VERIFY, VERIFY_AGAIN)
"""Causes of which a reading repairs little or nothing, from the least on."""


def covering(causes: Iterable[str]) -> str:
    """Return the cause of a reading that serves all of these: the one that repairs most."""
    return max(causes, key=lambda c: _CAREFUL.index(c) if c in _CAREFUL else len(_CAREFUL))


def ask(book: Book, command: ReconcileNow) -> None:
    """Compare with the next reading and answer with what differs."""
    book.asks[command.request_id] = command.apply
    book.emit(Reconcile(ASKED))


def apply_snapshot(book: Book, snapshot: ExchangeSnapshot, cause: str) -> None:
    """Compare everything with a reading of the exchange and repair what differs.

    A verifying reading repairs only what two in a row have found: one may be a fill on its way.
    """
    found = differences(book, snapshot)
    _report(book, found)
    wanted = _answer_asks(book, found, snapshot.account.time)
    confirmed: frozenset[Key] = frozenset()
    if cause in (VERIFY, VERIFY_AGAIN) and not wanted:
        confirmed = _confirmed(book, found)
        if not confirmed:
            if not found:
                _read_up_to(book, snapshot)
            return
    elif cause == ASKED and not wanted:
        return
    else:
        book.suspected = frozenset()
    book.time = max(book.time, snapshot.account.time)
    # what this very step sends is not what a dead replica left behind
    left = {o.client_order_id for o in book.live_orders()} if cause == START else set()
    if cause == START:
        owners.count_forgotten(book, snapshot)
        # a stop that does not rest must not stand in for one that does, until it was asked for
        book.cancelling |= _not_resting(book, snapshot)
    # before the fills that were missed: one of them may open a position
    book.leverage.update(snapshot.leverage)
    missed = {f.symbol for f in snapshot.fills if (f.symbol, f.trade_id) not in book.seen_fills}
    _history(book, snapshot)
    _read_up_to(book, snapshot)
    # a fill explains what was doubted; what differs beside it was not seen before
    drift.compare(book, snapshot, frozenset(key for key in confirmed if key[1] not in missed))
    _orders(book, snapshot, left)
    if _wallet(book, snapshot.account.wallet_balance, snapshot.account.time):
        # where both sides agree a reading moves nothing: rounds and prices look at the equity
        emergency.note_peak(book)
        emergency.watch(book)
    book.exit_hold.clear()
    isolation.each(book, sorted(book.positions), guard.keep_protected)
    if cause == START:
        # what a dead replica was about to cancel would hold up the next entry of its symbol
        held = {p.position_id for p in book.positions.values()}
        for closed in sorted({o.position_id for o in book.live_orders()} - held):
            guard.release(book, closed)
    book.store_account(published=True)


def _key(found: Difference) -> Key:
    return str(found.kind), found.symbol, found.key


def _confirmed(book: Book, found: Sequence[Difference]) -> frozenset[Key]:
    seen = frozenset(_key(d) for d in found if d.repairable)
    confirmed = seen & book.suspected
    book.suspected = seen - confirmed
    if book.suspected and not confirmed:
        book.emit(Reconcile(VERIFY_AGAIN))
    return confirmed


def _report(book: Book, found: Sequence[Difference]) -> None:
    """Tell a person once of what is not repaired here."""
    lasting = {_key(d): d for d in found if not d.repairable}
    for key in sorted(lasting.keys() - book.reported):
        difference = lasting[key]
        text = f"{difference.key or difference.symbol or 'account'}: {difference.kind}, here"
        text += f" {difference.ours}, on the exchange {difference.theirs}"
        foreign = difference.kind is Kind.FOREIGN_ORDER
        alert = "UNKNOWN_ORDER" if foreign else f"{difference.kind}_DIFFERS".upper()
        book.alert("MEDIUM", alert, text, symbol=difference.symbol)
    book.reported = set(lasting)


def _answer_asks(book: Book, found: Sequence[Difference], time: int) -> bool:
    """Answer who waits; True when one of them wants it repaired."""
    asks, book.asks = book.asks, {}
    rows = [
        {"symbol": d.symbol, "kind": d.kind, "ours": d.ours, "theirs": d.theirs, "action": d.action}
        for d in found
    ]
    for request_id, apply in asks.items():
        result = {"differences": json.dumps(rows), "applied": str(apply).lower(), "time": str(time)}
        book.emit(Answer(request_id, True, result))
    return any(asks.values())


def _read_up_to(book: Book, snapshot: ExchangeSnapshot) -> None:
    """Note that everything up to this reading is known."""
    book.read_time = max(book.read_time, snapshot.account.time)


def _history(book: Book, snapshot: ExchangeSnapshot) -> None:
    """Apply what was missed; what the first reading's wallet holds is past, whoever tells it."""
    if book.wallet is None:
        book.wallet = snapshot.account.wallet_balance
        book.begun_time = snapshot.account.time
    for fill in sorted(snapshot.fills, key=lambda f: _fill_order(book, f)):
        fills.apply_fill(book, fill, "reconcile")
    _leave_unsent(book)
    for report in sorted(snapshot.funding, key=lambda r: (r.time, r.symbol, r.transaction_id)):
        funding.apply_funding(book, report)


def _leave_unsent(book: Book) -> None:
    """Do not send what was to protect or close a position that a later fill closed already.

    A dead replica may have sent it, and forgotten with its position: its id may be used up.
    """
    held = {p.position_id for p in book.positions.values()}
    unsent = {
        e.order.client_order_id
        for e in book.out
        if isinstance(e, Place) and e.order.reduce_only and e.order.position_id not in held
    }
    if not unsent:
        return
    book.out = [
        e for e in book.out if not (isinstance(e, Place) and e.order.client_order_id in unsent)
    ]
    for name in sorted(unsent):
        order = book.orders[name]
        if order.state is OrderState.SUBMITTED:
            text = "its position is closed"
            orders.move(book, order, OrderState.REJECTED, "never_sent", reason=text)


def _fill_order(book: Book, fill: Fill) -> tuple[int, str, bool, int, str]:
    """Entries before exits of the same millisecond: an exit needs what it closes.

    Trade ids are numbers: as texts 10 would come before 9.
    """
    order = book.orders.get(fill.client_order_id)
    exits = order is not None and order.reduce_only
    number = int(fill.trade_id) if fill.trade_id.isdecimal() else 0
    return fill.time, fill.symbol, exits, number, fill.trade_id


def _wallet_moved(book: Book) -> int:
    """Return the market time of the newest fill or funding that the wallet holds."""
    return max(*book.seen_fills.values(), *book.seen_funding.values(), 0, 0)


def _wallet(book: Book, wallet: Decimal, time: int) -> bool:
    """Take over a wallet that two readings show; return True when it changed or is the first.

    A reading that is not later than all that moved our own wallet may be from before it, and so
    may be the one after: neither proves anything.
    """
    before = book.wallet if book.high_water is not None else None
    missing = wallet - book.wallet if book.wallet is not None else Decimal(0)
    if book.wallet is None:
        book.wallet = wallet
    elif not missing or time <= _wallet_moved(book):
        book.wallet_drift = None
    elif book.wallet_drift == missing:
        text = f"wallet was {book.wallet}, the exchange says {wallet}"
        _repaired(book, "", "wallet", text, f"{book.time}.{wallet}")
        book.wallet, book.wallet_drift = wallet, None
    else:
        book.wallet_drift = missing
        book.emit(Reconcile("wallet differs"))
    today = book.days.get(utc_day(book.time)) if book.days else book.day(book.time)
    if today is not None and today.start_equity is None:
        today.start_equity = book.equity()
        book.store_day(today)
    return book.wallet != before


def _not_resting(book: Book, snapshot: ExchangeSnapshot) -> set[str]:
    """Return the accepted orders that the reading does not hold: an earlier term may have ended
    them."""
    resting = {report.client_order_id for report in snapshot.open_orders}
    live = {o.client_order_id for o in book.live_orders() if o.state in LIVE_ON_EXCHANGE}
    return live - resting


def _orders(book: Book, snapshot: ExchangeSnapshot, left: set[str]) -> None:
    """Take over resting orders; ask for ours that do not rest; cancel those that nobody owns.

    `left` names those that an earlier term may or may not have sent.
    """
    resting = {r.client_order_id: r for r in snapshot.open_orders}
    for order in book.live_orders():
        report = resting.get(order.client_order_id)
        if report is not None:
            orders.apply_report(book, order, report, "reconcile")
        elif order.state in LIVE_ON_EXCHANGE:
            orders.lost(book, order, "not among the open orders")
        elif order.client_order_id not in left:
            continue  # its own answer is on its way
        elif order.state is OrderState.INTENT:
            _go_on(book, order)
        elif sending_again.at_start(book, order):
            continue
        else:
            orders.lost(book, order, "not among the open orders")
    for client_id in sorted(resting):
        known = book.orders.get(client_id)
        if known is None or known.state.final:
            strays.remove(book, resting[client_id], known, snapshot.fills)


def _go_on(book: Book, order: Order) -> None:
    """Go on with an entry that waited for its leverage when its replica died."""
    plan = book.plans.get(order.position_id)
    if plan is None or (plan.expires_at and book.time > plan.expires_at):
        orders.move(book, order, OrderState.CANCELED, "never_sent", reason="restart")
    elif book.leverage.get(order.symbol) == plan.leverage:
        entries.leverage_answered(book, LeverageAnswered(order.symbol, plan.leverage))
    else:
        book.emit(SetLeverage(order.symbol, plan.leverage))


def _repaired(book: Book, symbol: str, kind: str, detail: str, evidence: str) -> None:
    book.emit(ReconcileRepaired(symbol, kind, detail, book.time, evidence))
