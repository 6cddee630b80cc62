"""In what a reading of the exchange differs from what is stored. Only compares, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from services.exec_risk.core.exchange_events import ExchangeSnapshot, OrderReport
from services.exec_risk.core.orders.order_kinds import LIVE_ON_EXCHANGE
from services.exec_risk.core.state import Book

OUR_IDS = "qt"
"""How every client order id of ours begins."""
CROSSED = "CROSSED"


class Kind(StrEnum):
    """What can differ."""

    MISSED_FILL = "missed_fill"
    MISSED_FUNDING = "missed_funding"
    POSITION_QUANTITY = "position_quantity"
    POSITION_SIDE = "position_side"
    UNKNOWN_POSITION = "unknown_position"
    MISSING_POSITION = "missing_position"
    MISSING_ORDER = "missing_order"
    UNKNOWN_ORDER = "unknown_order"
    """An id like ours that is not stored, or is stored as ended."""
    FOREIGN_ORDER = "foreign_order"
    WALLET = "wallet"
    LEVERAGE = "leverage"
    MARGIN_TYPE = "margin_type"
    POSITION_MODE = "position_mode"


REPORTED = frozenset({Kind.LEVERAGE, Kind.MARGIN_TYPE, Kind.POSITION_MODE})
"""Kinds that are told to a person and not repaired here: an open position cannot be moved."""


QUANTITIES = frozenset(
    {Kind.POSITION_QUANTITY, Kind.POSITION_SIDE, Kind.UNKNOWN_POSITION, Kind.MISSING_POSITION}
)
"""Kinds of which the key is a quantity that every fill of the symbol moves."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing in which both sides differ."""

    symbol: str
    kind: Kind
    ours: str
    theirs: str
    action: str
    """What repairing it does; `reported` when a person is to look at it."""
    key: str = ""
    """Names the thing: an order's or a trade's id."""

    @property
    def repairable(self) -> bool:
        """True where repairing changes something."""
        return self.action != "reported"


def differences(book: Book, snapshot: ExchangeSnapshot) -> tuple[Difference, ...]:
    """Compare in both directions; in the order of kind, symbol and key.

    What is on its way on our side (sent and not answered yet) is no difference.
    """
    found = [
        *_history(book, snapshot),
        *_positions(book, snapshot),
        *_orders(book, snapshot),
        *_account(book, snapshot),
    ]
    return tuple(sorted(found, key=lambda d: (list(Kind).index(d.kind), d.symbol, d.key)))


def _history(book: Book, snapshot: ExchangeSnapshot) -> Iterator[Difference]:
    for fill in snapshot.fills:
        known = (fill.symbol, fill.trade_id) in book.seen_fills
        if not known and not book.past(fill):
            theirs = f"{fill.side} {fill.quantity} at {fill.price} by {fill.client_order_id}"
            yield Difference(
                fill.symbol, Kind.MISSED_FILL, "none", theirs, "apply it", fill.trade_id
            )
    for report in snapshot.funding:
        known = report.transaction_id in book.seen_funding
        if not known and report.time > book.begun_time:
            yield Difference(
                report.symbol,
                Kind.MISSED_FUNDING,
                "none",
                str(report.amount),
                "apply it",
                report.transaction_id,
            )


def _positions(book: Book, snapshot: ExchangeSnapshot) -> Iterator[Difference]:
    theirs = {p.symbol: p.quantity for p in snapshot.account.positions if p.quantity}
    for symbol in sorted(set(theirs) | set(book.positions)):
        position = book.positions.get(symbol)
        held = position.quantity * position.side.sign if position else Decimal(0)
        there = theirs.get(symbol, Decimal(0))
        if held == there:
            continue
        kind, action = Kind.POSITION_QUANTITY, "book the difference as a fill"
        if not held:
            kind = Kind.UNKNOWN_POSITION
            action = "adopt and protect it" if book.policy.adopt_positions else "close it"
        elif not there:
            kind, action = Kind.MISSING_POSITION, "book its close"
        elif (held > 0) != (there > 0):
            kind = Kind.POSITION_SIDE
        yield Difference(
            symbol,
            kind,
            f"{held.normalize():f}",
            f"{there.normalize():f}",
            action,
            str(there - held),
        )


def _orders(book: Book, snapshot: ExchangeSnapshot) -> Iterator[Difference]:
    resting = {r.client_order_id: r for r in snapshot.open_orders}
    for order in book.live_orders():
        if order.client_order_id not in resting and order.state in LIVE_ON_EXCHANGE:
            yield Difference(
                order.symbol,
                Kind.MISSING_ORDER,
                f"{order.purpose} {order.state}",
                "does not rest",
                "ask for it by its id",
                order.client_order_id,
            )
    for client_id, report in sorted(resting.items()):
        known = book.orders.get(client_id)
        if known is None or known.state.final:
            yield _resting(book, report, "none" if known is None else str(known.state))


def _resting(book: Book, report: OrderReport, ours: str) -> Difference:
    own = report.client_order_id.startswith(OUR_IDS)
    cancels = own or book.policy.cancel_foreign_orders
    return Difference(
        report.symbol,
        Kind.UNKNOWN_ORDER if own else Kind.FOREIGN_ORDER,
        ours,
        f"{report.side} {report.quantity} rests",
        "cancel it" if cancels else "reported",
        report.client_order_id,
    )


def _account(book: Book, snapshot: ExchangeSnapshot) -> Iterator[Difference]:
    wallet = snapshot.account.wallet_balance
    if book.wallet != wallet:
        ours = "unknown" if book.wallet is None else str(book.wallet)
        apart = "" if book.wallet is None else str(wallet - book.wallet)
        yield Difference("", Kind.WALLET, ours, str(wallet), "take it over", apart)
    for symbol, position in sorted(book.positions.items()):
        there = snapshot.leverage.get(symbol, position.leverage)
        if there != position.leverage:
            yield Difference(symbol, Kind.LEVERAGE, str(position.leverage), str(there), "reported")
        margin = snapshot.margin_types.get(symbol, CROSSED)
        if margin != CROSSED:
            yield Difference(symbol, Kind.MARGIN_TYPE, CROSSED, margin, "reported")
    if snapshot.hedge_mode:
        yield Difference("", Kind.POSITION_MODE, "one-way", "hedge", "reported")
