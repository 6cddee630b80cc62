"""Keeping every open position protected, and closing it. No gate of entries is asked here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from services.exec_risk.core.actions import Reconcile
from services.exec_risk.core.effects import StoreProgress
from services.exec_risk.core.exchange_events import Refused
from services.exec_risk.core.facts import PositionChanged
from services.exec_risk.core.orders import orders
from services.exec_risk.core.orders.order_kinds import LIVE_ON_EXCHANGE, is_protection
from services.exec_risk.core.orders.refusals import may_try
from services.exec_risk.core.protection import costs, stop_orders, target_orders
from services.exec_risk.core.protection.protection import AbsurdDistance, levels, tighter
from services.exec_risk.core.protection.target_orders import nearest_target, take_at_market
from services.exec_risk.core.protection.targets import Rung, ladder
from services.exec_risk.core.protection.trailing import Progress, Ride, Stage, stop_of, usable
from services.exec_risk.core.state import Book
from services.trade.order import Order, OrderPurpose, OrderState, OrderType
from services.trade.position import ExitReason, Position

_TRIGGERED = "-2021"
_NO_POSITION = "-2022"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where a position's protection belongs."""

    stop: Decimal
    targets: tuple[Rung, ...]


def keep_protected(book: Book, symbol: str) -> None:
    """Bring the protective orders of a symbol's position to what it needs.

    A new stop is placed before the old one is cancelled; of several that the exchange holds the
    best stays.
    """
    position = book.positions.get(symbol)
    if position is None or not position.quantity:
        return
    if position.exit_reason is not None:
        _continue_exit(book, position)
        return
    seen = _seen(book, position)
    if book.at_rest.get(symbol) == seen:
        return
    decided = len(book.out)
    try:
        found = wanted(book, position)
        rests = stop_orders.keep_stop(book, position, found.stop)
    except AbsurdDistance as error:
        close(book, position, ExitReason.UNPROTECTED, f"its stop would be absurd: {error}")
        return
    rests &= target_orders.keep_targets(book, position, found.targets)
    _note_prices(book, symbol)
    if rests and len(book.out) == decided:
        book.at_rest[symbol] = seen


def _seen(book: Book, position: Position) -> tuple[object, ...]:
    """Return everything that decides what a position's protection lacks, but the time.

    Time decides only when something that is missing may be tried again.
    """
    return (
        position,
        book.plans.get(position.position_id),
        book.progress.get(position.position_id),
        book.filters.get(position.symbol),
        book.policy,
        book.orders.revision,
        tuple(book.executing.entering(position.symbol)),
        frozenset(book.cancelling),
        frozenset(book.unanswered),
        frozenset(book.leaving),
    )


def ride_of(book: Book, position: Position) -> Ride:
    """Return what decides where a position's stop stands; AbsurdDistance when it is not known."""
    filters = book.filters.get(position.symbol)
    plan = book.plans.get(position.position_id)
    known = book.rides.get(position.symbol)
    if known is not None and known[0] is position and known[1] is plan and known[2] is filters:
        return known[3]
    entry = position.entry_price
    if filters is None or plan is None or entry is None or not usable(entry):
        raise AbsurdDistance(f"filters, plan or entry price of {position.symbol} are not known")
    cost = costs.certain(book)
    ride = Ride(position.side, entry, plan.stop_fraction, plan.atr_fraction, cost, filters)
    book.rides[position.symbol] = (position, plan, filters, ride)
    return ride


def progress_of(book: Book, position: Position) -> Progress:
    """Return how far a position's protection has come."""
    return book.progress.get(position.position_id) or Progress(position.position_id)


def keep_progress(book: Book, progress: Progress) -> None:
    """Store how far a position's protection has come."""
    book.progress[progress.position_id] = progress
    book.emit(StoreProgress(progress))


def wanted(book: Book, position: Position) -> Wanted:
    """Return stop and targets from the average fill; AbsurdDistance when they cannot be meant."""
    ride, plan = ride_of(book, position), book.plans[position.position_id]
    levels(position.side, ride.entry, plan.stop_fraction, plan.take_fraction, ride.filters)
    progress = progress_of(book, position)
    rungs = ladder(
        ride,
        book.policy.protection,
        take_fraction=plan.take_fraction,
        total=position.entry_quantity,
        held=position.quantity,
        taken=progress.taken,
    )
    return Wanted(stop_of(progress, ride), rungs)


def note_taken(book: Book, position: Position, quantity: Decimal) -> None:
    """Count what a target closed."""
    known = progress_of(book, position)
    keep_progress(book, replace(known, taken=known.taken + quantity, version=known.version + 1))


def _note_prices(book: Book, symbol: str) -> None:
    position = book.positions[symbol]
    live, nearest = stop_orders.live_stop(book, position), nearest_target(book, position)
    stop = live.trigger_price if live else None
    take = nearest.trigger_price if nearest else None
    if (stop, take) != (position.stop_loss_price, position.take_profit_price):
        changed = replace(
            position, stop_loss_price=stop, take_profit_price=take, version=position.version + 1
        )
        book.positions[symbol] = changed
        book.emit(PositionChanged(changed))


def protected(book: Book, position: Position) -> bool:
    """Tell whether the exchange surely holds a stop for all that is held."""
    return stop_orders.protected(book, position)


def stop_was_moved(book: Book, position: Position, trigger: Decimal | None) -> bool:
    """Tell whether a stop at this price is one that break-even or trailing had moved."""
    try:
        ride = ride_of(book, position)
    except AbsurdDistance:
        return False
    known = progress_of(book, position)
    if trigger is None or known.stage is Stage.FIRST:
        return False
    return tighter(position.side, trigger, ride.first)


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
    """Have an exit under way for all that is held; what still enters is called back."""
    for entry in book.orders_of(position.position_id, OrderPurpose.ENTRY):
        if entry.state in LIVE_ON_EXCHANGE:
            orders.cancel(book, entry)
    # an order of an execution may rest; a close never waits for it, the exchange clips a surplus
    exits = book.orders_of(position.position_id, OrderPurpose.EXIT)
    running = [o for o in exits if not o.execution_id]
    # an entry may fill on after its exit was sized
    missing = position.quantity - sum((o.remaining for o in running), Decimal(0))
    if missing <= 0 or position.position_id in book.exit_hold:
        return running[-1] if running else None
    return orders.create(
        book,
        symbol=position.symbol,
        side=position.side.exit_side,
        kind=OrderType.MARKET,
        purpose=OrderPurpose.EXIT,
        quantity=missing,
        position_id=position.position_id,
        signal_id=position.signal_id,
        reason=str(position.exit_reason),
    )


def exit_overdue(book: Book, position_id: str) -> None:
    """Tell that an exit has not ended in its time, and look again at what became of it.

    No exit is forgotten (incident 10): its order is asked for, the exchange is read whole, and
    where no order is on its way a new one is sent.
    """
    for position in list(book.positions.values()):
        if position.position_id != position_id or position.exit_reason is None:
            continue
        text = f"{position.symbol} was to be closed ({position.exit_reason}) and is still open"
        book.alert("CRITICAL", "EXIT_OVERDUE", text, symbol=position.symbol)
        book.exit_hold.discard(position_id)
        for order in book.orders_of(position_id, OrderPurpose.EXIT):
            if order.state in (OrderState.SUBMITTED, OrderState.UNKNOWN):
                orders.lost(book, order, "no answer within the deadline of exits")
        _continue_exit(book, position)
        book.emit(Reconcile("an exit is overdue"))


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
        if order.purpose is OrderPurpose.EXIT:
            book.exit_hold.add(position.position_id)
            return
        # the fill may not have come there yet
        refused = replace(refused, retryable=True)
    if order.purpose is OrderPurpose.EXIT:
        _exit_refused(book, position, order, refused)
    elif order.purpose is OrderPurpose.STOP_LOSS:
        _stop_refused(book, position, order, refused)
    else:
        _target_refused(book, position, order, refused)


def _exit_refused(book: Book, position: Position, order: Order, refused: Refused) -> None:
    book.alert(
        "HIGH",
        "EXIT_REFUSED",
        f"exit of {order.symbol} was refused: {refused.code} {refused.message}",
        symbol=order.symbol,
    )
    if may_try(book, position.position_id, OrderPurpose.EXIT):
        _continue_exit(book, position)
    else:
        book.exit_hold.add(position.position_id)


def _stop_refused(book: Book, position: Position, order: Order, refused: Refused) -> None:
    if refused.code == _TRIGGERED and stop_was_moved(book, position, order.trigger_price):
        close(book, position, ExitReason.TRAILING_STOP, "the moved stop was passed already")
        return
    text = f"stop of {order.symbol} was refused: {refused.code} {refused.message}"
    if protected(book, position):
        # the older stop stays; what refused the newer one may pass
        book.alert("MEDIUM", "STOP_REFUSED", text, symbol=order.symbol)
    elif refused.retryable and may_try(book, position.position_id, OrderPurpose.STOP_LOSS):
        keep_protected(book, order.symbol)
    else:
        close(book, position, ExitReason.UNPROTECTED, text)


def _target_refused(book: Book, position: Position, order: Order, refused: Refused) -> None:
    """Go on without a target: the stop protects, so the position is kept."""
    if position.exit_reason is not None:
        return
    if refused.code == _TRIGGERED:
        take_at_market(book, order)
        return
    text = f"target of {order.symbol} was refused: {refused.code} {refused.message}"
    book.alert("MEDIUM", "TARGET_REFUSED", text, symbol=order.symbol)
