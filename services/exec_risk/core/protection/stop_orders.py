"""The one stop of a position: placed before an older one is cancelled, bounded in number."""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core.orders import orders
from services.exec_risk.core.orders.order_kinds import LIVE_ON_EXCHANGE
from services.exec_risk.core.orders.refusals import may_try, paused
from services.exec_risk.core.protection.protection import check_stop, near, tighter
from services.exec_risk.core.state import Book
from services.trade.order import Order, OrderPurpose, OrderState, OrderType
from services.trade.position import Position

MAX_UNRESOLVED_STOPS = 3
"""Stops of unknown outcome after which no further one is tried; the overdue rule then closes."""


def live_stop(book: Book, position: Position) -> Order | None:
    """Return the stop that counts: of those that the exchange surely holds the best one."""
    found = [o for o in _stops(book, position) if _surely_there(book, o)]
    return max(found, key=lambda o: _rank(position, o), default=None)


def protected(book: Book, position: Position) -> bool:
    """Tell whether the exchange surely holds a stop for all that is held."""
    best = live_stop(book, position)
    return best is not None and best.remaining >= position.quantity


def keep_stop(book: Book, position: Position, stop: Decimal) -> bool:
    """Bring the position's stop to a price and to what is held; False while one is missing.

    AbsurdDistance when such a stop cannot be meant; then nothing is sent.
    """
    stop = _never_looser(book, position, stop)
    existing = _stops(book, position)
    standing = [o for o in existing if not orders.goes(book, o)]
    if not protected(book, position):
        # one more stop is harmless, waiting for an answer is not
        standing = [o for o in standing if o.state is not OrderState.UNKNOWN]
    fits = any(_fits(book, position, o, stop) for o in standing)
    if not fits:
        _place(book, position, stop, existing)
    _cancel_superseded(book, position)
    return fits


def _never_looser(book: Book, position: Position, stop: Decimal) -> Decimal:
    """Return the price of a stop that covers all and is tighter than the one that is wanted.

    Another one at a looser price would be cancelled for it, and be wanted again, without an end.
    """
    best = live_stop(book, position)
    if best is None or best.trigger_price is None or best.remaining < position.quantity:
        return stop
    return best.trigger_price if tighter(position.side, best.trigger_price, stop) else stop


def _place(book: Book, position: Position, stop: Decimal, existing: list[Order]) -> None:
    unresolved = sum(o.state is OrderState.UNKNOWN for o in existing)
    most = book.policy.protection.max_stops
    if unresolved >= MAX_UNRESOLVED_STOPS or len(existing) >= most:
        return
    owner, purpose = position.position_id, OrderPurpose.STOP_LOSS
    if protected(book, position):
        if paused(book, owner, purpose):
            return
    elif not may_try(book, owner, purpose):
        return  # the overdue rule closes
    plan = book.plans[position.position_id]
    assert position.entry_price is not None  # noqa: S101 - it has a first fill
    tick = book.filters[position.symbol].tick_size
    farthest = position.entry_price * plan.stop_fraction + tick
    check_stop(position.side, position.entry_price, stop, None, farthest)
    orders.create(
        book,
        symbol=position.symbol,
        side=position.side.exit_side,
        kind=OrderType.STOP_MARKET,
        purpose=purpose,
        quantity=position.quantity,
        position_id=owner,
        signal_id=position.signal_id,
        trigger_price=stop,
    )


def _cancel_superseded(book: Book, position: Position) -> None:
    """Cancel the smallest of the stops that the others of the exchange's stand in for.

    Nothing is cancelled before its replacement is surely there, so a refused or lost replacement
    leaves the older stop where it is. What still enters may be held by now, and not heard of, and
    the best one may have closed its part of it: the others cover the rest until no entry is left.
    """
    stops = _stops(book, position)
    best = live_stop(book, position)
    if len(stops) < 2 or best is None or best.filled_quantity:
        return  # while one fills the position ends, and all that is left goes with it
    sure = [o for o in stops if _surely_there(book, o)]
    spare = sum((o.remaining for o in sure), Decimal(0))
    spare -= position.quantity + _entering(book, position)
    covers = best.remaining >= position.quantity
    standing = sum(not orders.goes(book, o) for o in stops)
    surplus = standing - book.policy.protection.max_stops
    for order in sorted(stops, key=lambda o: (o.remaining, o.client_order_id)):
        if order is best or order.state is not OrderState.ACCEPTED:
            continue
        # one whose cancel may have been lost stands in for nothing: it is asked for again
        counted = order.remaining if order in sure else Decimal(0)
        if (covers and counted <= max(spare, Decimal(0))) or (counted and surplus >= 0):
            orders.cancel(book, order)
            spare, surplus = spare - counted, surplus - 1


def _entering(book: Book, position: Position) -> Decimal:
    """Return what entries may still add: live orders, and parts that follow within this step."""
    entries = book.orders_of(position.position_id, OrderPurpose.ENTRY)
    live = sum((o.remaining for o in entries), Decimal(0))
    follow = [
        e.left
        for e in book.executing.entering(position.symbol)
        if e.position_id == position.position_id and e.sends
    ]
    return max(live, sum(follow, Decimal(0)))


def _fits(book: Book, position: Position, order: Order, stop: Decimal) -> bool:
    trigger = order.trigger_price
    if trigger is None or order.remaining < position.quantity:
        return False
    if order.filled_quantity or _fills_under_way(book, position):
        return True
    loose = tighter(position.side, stop, trigger)
    close = near(trigger, stop, book.policy.protection.replace_fraction)
    return order.remaining == position.quantity and (close or not loose)


def _fills_under_way(book: Book, position: Position) -> bool:
    """Tell whether a target is filling: the held quantity changes again at once."""
    targets = book.orders_of(position.position_id, OrderPurpose.TAKE_PROFIT)
    return any(o.state is OrderState.PARTIALLY_FILLED for o in targets)


def _stops(book: Book, position: Position) -> list[Order]:
    return book.orders_of(position.position_id, OrderPurpose.STOP_LOSS)


def _surely_there(book: Book, order: Order) -> bool:
    return order.state in LIVE_ON_EXCHANGE and not orders.goes(book, order)


def _rank(position: Position, order: Order) -> tuple[bool, bool, Decimal, Decimal, int, str]:
    """Order stops by what they are, not by age: the same after a restart, whatever was read first.

    One that fills stays; then one that covers all, the tightest, the one with the least surplus.
    """
    covers = order.remaining >= position.quantity
    fit = -abs(order.remaining - position.quantity)
    name = order.client_order_id
    # one whose trigger the exchange did not tell is the last to stay
    trigger = order.trigger_price
    tight = Decimal("-Infinity") if trigger is None else trigger * position.side.sign
    return (bool(order.filled_quantity), covers, tight, fit, order.decided_time, name)
