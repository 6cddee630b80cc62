"""Keeping every open position protected, and closing it. No gate of entries is asked here."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from services.exec_risk.core import orders
from services.exec_risk.core.effects import EntryPlan, PositionChanged, Reconcile
from services.exec_risk.core.exchange_events import Refused
from services.exec_risk.core.protection import AbsurdDistance, Levels, levels
from services.exec_risk.core.state import LIVE_ON_EXCHANGE, Book, is_protection
from services.trade.order import Order, OrderPurpose, OrderState, OrderType
from services.trade.position import ExitReason, Position

MAX_UNRESOLVED_STOPS = 3
"""Stops of unknown outcome after which no further one is tried; the overdue rule then closes."""

_TRIGGERED = "-2021"
_NO_POSITION = "-2022"
_KIND = {
    OrderPurpose.STOP_LOSS: OrderType.STOP_MARKET,
    OrderPurpose.TAKE_PROFIT: OrderType.TAKE_PROFIT_MARKET,
}


def keep_protected(book: Book, symbol: str) -> None:
    """Bring the protective orders of a symbol's position to what it needs.

    A new stop is placed before the old one is cancelled; of several that the exchange holds the
    newest stays.
    """
    position = book.positions.get(symbol)
    if position is None or not position.quantity:
        return
    if position.exit_reason is not None:
        _continue_exit(book, position)
        return
    found = wanted_levels(book, position)
    if found is None:
        close(book, position, ExitReason.UNPROTECTED, "its stop would be absurd")
        return
    _keep_one(book, position, OrderPurpose.STOP_LOSS, found.stop)
    _keep_one(book, position, OrderPurpose.TAKE_PROFIT, found.take)
    _note_prices(book, symbol)


def wanted_levels(book: Book, position: Position) -> Levels | None:
    """Return stop and target from the average fill, or None when they would be absurd."""
    filters = book.filters.get(position.symbol)
    plan = book.plans.get(position.position_id)
    if filters is None or plan is None or position.entry_price is None:
        return None
    return _levels(plan, position, book)


def _levels(plan: EntryPlan, position: Position, book: Book) -> Levels | None:
    filters = book.filters[position.symbol]
    assert position.entry_price is not None  # noqa: S101 - the caller has looked
    try:
        return levels(
            position.side, position.entry_price, plan.stop_fraction, plan.take_fraction, filters
        )
    except AbsurdDistance:
        return None


def _keep_one(book: Book, position: Position, purpose: OrderPurpose, trigger: Decimal) -> None:
    existing = book.orders_of(position.position_id, purpose)
    usable = [o for o in existing if o.state is not OrderState.UNKNOWN]
    newest = usable[-1] if usable else None
    fits = newest is not None and newest.remaining >= position.quantity
    # a part of the target may have filled: the position shrank, what rests still covers it
    if not fits and len(existing) - len(usable) < MAX_UNRESOLVED_STOPS:
        orders.create(
            book,
            symbol=position.symbol,
            side=position.side.exit_side,
            kind=_KIND[purpose],
            purpose=purpose,
            quantity=position.quantity,
            position_id=position.position_id,
            signal_id=position.signal_id,
            trigger_price=trigger,
        )
        return
    if newest is not None and newest.state in LIVE_ON_EXCHANGE:
        for older in existing:
            if older is not newest and older.state in LIVE_ON_EXCHANGE:
                orders.cancel(book, older)


def _note_prices(book: Book, symbol: str) -> None:
    position = book.positions[symbol]
    stop = _live_trigger(book, position, OrderPurpose.STOP_LOSS)
    take = _live_trigger(book, position, OrderPurpose.TAKE_PROFIT)
    if (stop, take) != (position.stop_loss_price, position.take_profit_price):
        changed = replace(
            position, stop_loss_price=stop, take_profit_price=take, version=position.version + 1
        )
        book.positions[symbol] = changed
        book.emit(PositionChanged(changed))


def _live_trigger(book: Book, position: Position, purpose: OrderPurpose) -> Decimal | None:
    live = [o for o in book.orders_of(position.position_id, purpose) if o.state in LIVE_ON_EXCHANGE]
    return live[-1].trigger_price if live else None


def protected(book: Book, position: Position) -> bool:
    """Tell whether the exchange surely holds a stop for all that is held."""
    return any(
        o.state in LIVE_ON_EXCHANGE and o.remaining >= position.quantity
        for o in book.orders_of(position.position_id, OrderPurpose.STOP_LOSS)
    )


def close(book: Book, position: Position, reason: ExitReason, why: str) -> Order | None:
    """Close a position at market; the first reason stays. Returns the exit order.

    No entry gate is asked. The stop goes on resting until the position is closed.
    """
    if position.exit_reason is None:
        position = replace(position, exit_reason=reason, version=position.version + 1)
        book.positions[position.symbol] = position
        book.emit(PositionChanged(position))
        if reason is ExitReason.UNPROTECTED:
            text = f"{position.symbol} is closed at market: {why}"
            book.alert(
                "CRITICAL",
                "UNPROTECTED_POSITION",
                text,
                symbol=position.symbol,
                action="CLOSE_POSITIONS",
            )
    return _continue_exit(book, position)


def _continue_exit(book: Book, position: Position) -> Order | None:
    # an order of an execution may rest; a close never waits for it, the exchange clips a surplus
    exits = book.orders_of(position.position_id, OrderPurpose.EXIT)
    running = [o for o in exits if not o.execution_id]
    if running:
        return running[-1]
    if position.position_id in book.exit_hold:
        return None
    return orders.create(
        book,
        symbol=position.symbol,
        side=position.side.exit_side,
        kind=OrderType.MARKET,
        purpose=OrderPurpose.EXIT,
        quantity=position.quantity,
        position_id=position.position_id,
        signal_id=position.signal_id,
        reason=str(position.exit_reason),
    )


def release(book: Book, position_id: str) -> None:
    """Cancel what still rests for a position that is closed."""
    for order in book.live_orders():
        if order.position_id == position_id and is_protection(order):
            if order.state in (OrderState.SUBMITTED, OrderState.UNKNOWN):
                continue  # its own answer leads here again
            orders.cancel(book, order)


def after_refusal(book: Book, order: Order, refused: Refused) -> None:
    """Go on after the exchange has proven that it refused a protective or an exit order."""
    position = book.positions.get(order.symbol)
    if position is None or position.position_id != order.position_id:
        return
    if refused.code == _NO_POSITION:
        book.emit(Reconcile(f"{order.client_order_id} refused: no position to reduce"))
        book.exit_hold.add(position.position_id)
        return
    if order.purpose is OrderPurpose.EXIT:
        _exit_refused(book, position, order, refused)
    elif order.purpose is OrderPurpose.STOP_LOSS:
        _stop_refused(book, position, order, refused)
    elif refused.code == _TRIGGERED:
        close(book, position, ExitReason.TAKE_PROFIT, "the target was passed already")
    elif _tries_left(book, order) and refused.retryable:
        keep_protected(book, order.symbol)
    else:
        text = f"target of {order.symbol} was refused: {refused.code} {refused.message}"
        close(book, position, ExitReason.UNPROTECTED, text)


def _exit_refused(book: Book, position: Position, order: Order, refused: Refused) -> None:
    book.alert(
        "HIGH",
        "EXIT_REFUSED",
        f"exit of {order.symbol} was refused: {refused.code} {refused.message}",
        symbol=order.symbol,
    )
    if _tries_left(book, order):
        _continue_exit(book, position)
    else:
        book.exit_hold.add(position.position_id)


def _stop_refused(book: Book, position: Position, order: Order, refused: Refused) -> None:
    if refused.retryable and _tries_left(book, order):
        keep_protected(book, order.symbol)
        return
    if not protected(book, position):
        text = f"its stop was refused: {refused.code} {refused.message}"
        close(book, position, ExitReason.UNPROTECTED, text)


def _tries_left(book: Book, order: Order) -> bool:
    rejected = [
        o
        for o in book.orders.values()
        if o.position_id == order.position_id
        and o.purpose is order.purpose
        and o.state is OrderState.REJECTED
    ]
    return len(rejected) < book.policy.retry_attempts
