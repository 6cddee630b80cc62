"""Working executions: orders are made one after another until the quantity is filled.

One order of an execution lives at a time, and one whose outcome is not known counts as living, so
that what is filled and what may still fill never exceed the quantity together. Every gate of
entries stops what is left of an entry; nothing stops what makes a position smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from services.exec_risk.core import execution_life as life
from services.exec_risk.core import isolation, orders
from services.exec_risk.core.effects import ExecutionChanged, Reconcile, SetLeverage
from services.exec_risk.core.exchange_events import Refused
from services.exec_risk.core.rules import blocked_by
from services.exec_risk.core.state import LIVE_ON_EXCHANGE, Book
from services.exec_risk.core.strategies import limit, market, sliced
from services.exec_risk.core.strategies.steps import GiveUp, Send, Step, View, Withdraw, resting
from services.trade.execution import Execution, ExecutionPhase, ExecutionStrategy
from services.trade.order import (
    Fill,
    Order,
    OrderPurpose,
    OrderState,
    OrderType,
    TimeInForce,
)

POST_ONLY = "-5022"
NO_POSITION = "-2022"
_UNKNOWN_GATES = ("exchange", "equity")
"""Gates that mean something is not known just now: what is left waits, its deadline stays."""
_STRATEGIES: dict[ExecutionStrategy, Callable[[Execution, Order | None, View], Step | None]] = {
    ExecutionStrategy.MARKET: market.step,
    ExecutionStrategy.LIMIT: limit.step,
    ExecutionStrategy.ICEBERG: limit.step,
    ExecutionStrategy.TWAP: sliced.step,
    ExecutionStrategy.VWAP: sliced.step,
}


def begin(book: Book, execution: Execution) -> None:
    """Take in a new execution and send its first order in the same step."""
    _keep(book, execution, "decided")
    _advance(book, execution.execution_id)


def work(book: Book) -> None:
    """Bring every working execution one step on; called after each event."""
    working = [e.execution_id for e in book.executing.working]
    if working:
        isolation.each(book, working, _advance)


def tell(book: Book) -> None:
    """Report each execution that changed in this step, once."""
    for execution_id, cause in book.executing.untold.items():
        execution = book.executing.all[execution_id]
        execution = replace(execution, version=execution.version + 1)
        book.executing.put(execution)
        book.emit(ExecutionChanged(execution, cause, book.trace(execution.position_id)))
    book.executing.untold.clear()


def filled(book: Book, order: Order, fill: Fill) -> None:
    """Add a fill of one of its orders, whatever the state of the execution."""
    execution = book.executing.all.get(order.execution_id)
    if execution is not None:
        _keep(book, life.with_fill(execution, fill), "fill")


def stop(book: Book, execution: Execution, reason: str, cause: str) -> None:
    """Send nothing more; what rests is withdrawn."""
    if execution.sends:
        _enter(book, execution, ExecutionPhase.STOPPING, reason, cause)
        _advance(book, execution.execution_id)


def refused(book: Book, order: Order, refusal: Refused) -> None:
    """Go on after the exchange has proven that it refused an order of an execution.

    The same quantity is asked for again only where that can cure it: later when the refusal is
    retryable, a tick further from the market when a post-only order would have taken.
    """
    execution = book.executing.all.get(order.execution_id)
    if execution is None or execution.state.final:
        return
    now = book.time
    refusals = execution.refusals + 1
    execution = life.changed(execution, time=now, child="", withdrawing=False, refusals=refusals)
    text = f"{refusal.code} {refusal.message}".strip()
    policy = book.policy
    if refusal.code == POST_ONLY and order.time_in_force is TimeInForce.GTX:
        _keep(book, execution, "post_only_refused")
        if refusals >= policy.execution.post_only_attempts:
            stop(book, execution, f"no post-only price was taken: {text}", "post_only_refused")
    elif refusal.retryable and refusals < policy.retry_attempts and execution.sends:
        pause = policy.execution.backoff_ms * 2 ** (refusals - 1)
        _keep(book, life.changed(execution, time=now, next_time=now + pause), "refused")
    else:
        _keep(book, execution, "refused")
        _fail(book, execution, text)
        _tell_refusal(book, order, text)
    if refusal.code == NO_POSITION:
        book.emit(Reconcile(f"{order.client_order_id} refused: no position to reduce"))


def _tell_refusal(book: Book, order: Order, text: str) -> None:
    if order.purpose is OrderPurpose.ENTRY:
        message = f"entry of {order.symbol} was refused: {text}"
        book.alert("LOW", "ENTRY_REFUSED", message, symbol=order.symbol)
    else:
        message = f"exit of {order.symbol} was refused: {text}"
        book.alert("HIGH", "EXIT_REFUSED", message, symbol=order.symbol)


def _advance(book: Book, execution_id: str) -> None:
    """Judge what ended, ask what stops it, then do what its strategy says."""
    execution = _judged(book, book.executing.all[execution_id])
    living = [o for o in book.orders.live if o.execution_id == execution_id]
    if execution.sends:
        why = _stopped_by(book, execution)
        if why:
            execution = _enter(book, execution, ExecutionPhase.STOPPING, why, "stopped")
    if not living and (not execution.left or not execution.sends):
        _keep(book, life.end(execution, time=book.time), "ended")
        return
    if not execution.sends:
        for order in living:
            _withdraw(book, execution, order, execution.reason)
        return
    if any(
        o.state in (OrderState.INTENT, OrderState.SUBMITTED, OrderState.UNKNOWN) for o in living
    ):
        return
    if living and living[0].remaining > execution.left:
        _withdraw(book, execution, living[0], "an earlier order filled late")
        return
    if book.time < execution.next_time or _waits(book, execution):
        return
    view = _view(book, execution)
    if view is not None:
        child = living[0] if living else None
        _carry_out(book, execution, child, view)


def _carry_out(book: Book, execution: Execution, child: Order | None, view: View) -> None:
    step = _STRATEGIES[execution.strategy](execution, child, view)
    if isinstance(step, GiveUp):
        stop(book, execution, step.reason, "gave_up")
    elif isinstance(step, Withdraw) and child is not None:
        _withdraw(book, execution, child, step.cause)
    elif isinstance(step, Send) and child is None:
        _send(book, execution, step, view)


def _judged(book: Book, execution: Execution) -> Execution:
    """Take note of the end of the order that was last made."""
    order = book.orders.get(execution.child)
    if order is None or execution.state.final:
        return execution
    if not order.state.final:
        if execution.refusals and order.state in LIVE_ON_EXCHANGE and not _post_only(order):
            execution = _keep(book, life.changed(execution, time=book.time, refusals=0), "taken")
        return execution
    withdrawn = execution.withdrawing
    refusals = 0 if order.filled_quantity else execution.refusals
    execution = life.changed(
        execution, time=book.time, child="", withdrawing=False, refusals=refusals
    )
    _keep(book, execution, "order_ended")
    if not execution.sends:
        return execution
    if order.state is OrderState.REJECTED:
        return _fail(book, execution, order.reason)
    if order.state is OrderState.CANCELED and not withdrawn:
        return _canceled_by_others(book, execution, order)
    if order.state is OrderState.EXPIRED:
        return _expired(book, execution, order)
    return execution


def _canceled_by_others(book: Book, execution: Execution, order: Order) -> Execution:
    if not order.exchange_order_id:
        return _fail(book, execution, order.reason)
    reason = "its order was cancelled at the exchange"
    return _enter(book, execution, ExecutionPhase.STOPPING, reason, "order_canceled")


def _expired(book: Book, execution: Execution, order: Order) -> Execution:
    """An order ended by itself: IOC as it should, post-only because it would have taken."""
    if _post_only(order):
        refusals = execution.refusals + 1
        changed = life.changed(execution, time=book.time, refusals=refusals)
        execution = _keep(book, changed, "post_only_expired")
        if refusals < book.policy.execution.post_only_attempts:
            return execution
        reason = "no post-only price was taken"
        return _enter(book, execution, ExecutionPhase.STOPPING, reason, "post_only_expired")
    at_once = order.type is OrderType.LIMIT and not resting(order)
    if at_once or order.filled_quantity:
        return execution
    return _fail(book, execution, order.reason or "the exchange let its order expire")


def _post_only(order: Order) -> bool:
    return order.time_in_force is TimeInForce.GTX


def _stopped_by(book: Book, execution: Execution) -> str:
    """Return why nothing more may be sent; '' when it may."""
    position = book.positions.get(execution.symbol)
    owned = position is not None and position.position_id == execution.position_id
    if owned and position is not None and position.exit_reason is not None:
        return f"its position is being closed: {position.exit_reason}"
    if execution.reduce_only:
        return "" if owned else "its position is closed"
    if position is not None and not owned:
        return "another position is open"
    if not owned and execution.filled_quantity:
        return "its position is closed"
    gate = blocked_by(book)
    if gate and gate not in _UNKNOWN_GATES:
        return f"entries are stopped by {gate}"
    return _drifted(book, execution)


def _drifted(book: Book, execution: Execution) -> str:
    price = book.price(execution.symbol)
    if price is None or execution.limit_price is not None or not execution.reference_price:
        return ""
    drift = (price / execution.reference_price - 1) * execution.side.sign
    cap = execution.max_slippage
    return f"price is {drift:.5f} away from the decision, cap {cap}" if drift > cap else ""


def _waits(book: Book, execution: Execution) -> bool:
    """Tell whether something is not known that an entry needs to know."""
    if execution.reduce_only:
        return False
    unknown = (o.state is OrderState.UNKNOWN for o in book.live_orders(execution.symbol))
    known = book.prices.get(execution.symbol)
    stale = known is None or book.time - known[1] > book.policy.max_price_age_ms
    return bool(blocked_by(book)) or stale or any(unknown)


def _view(book: Book, execution: Execution) -> View | None:
    symbol = execution.symbol
    filters, last = book.filters.get(symbol), book.last_price(symbol)
    if filters is None or last is None:
        return None
    quote = book.executing.quotes.get(symbol)
    fresh = quote is not None and book.time - quote.time <= book.policy.max_price_age_ms
    if quote is None or not fresh:
        return View(book.time, last, filters, book.policy.execution)
    return View(book.time, last, filters, book.policy.execution, quote.bid, quote.ask)


def _send(book: Book, execution: Execution, step: Send, view: View) -> None:
    quantity = _fitting(book, execution, step, view)
    if quantity is None:
        return
    plan = book.plans.get(execution.position_id)
    leverage = plan.leverage if plan else 0
    confirmed = execution.reduce_only or book.leverage.get(execution.symbol) == leverage
    order = orders.create(
        book,
        symbol=execution.symbol,
        side=execution.side,
        kind=step.type,
        purpose=OrderPurpose.EXIT if execution.reduce_only else OrderPurpose.ENTRY,
        quantity=quantity,
        position_id=execution.position_id,
        signal_id=execution.signal_id,
        price=step.price,
        time_in_force=step.time_in_force,
        execution_id=execution.execution_id,
        send=confirmed,
    )
    if not confirmed:
        book.emit(SetLeverage(execution.symbol, leverage))
    if step.last and execution.phase is ExecutionPhase.OPEN:
        execution = life.enter(execution, ExecutionPhase.LAST, time=book.time, reason="")
    sent = life.changed(
        execution,
        time=book.time,
        orders=execution.orders + 1,
        child=order.client_order_id,
        slices_sent=max(execution.slices_sent, step.slices_sent),
    )
    _keep(book, sent, step.cause)


def _fitting(book: Book, execution: Execution, step: Send, view: View) -> Decimal | None:
    """Return the quantity as the exchange takes it; None ends or delays an execution."""
    filters = view.filters
    largest = filters.market_max_quantity if step.price is None else filters.max_quantity
    quantity = min(step.quantity, execution.left, largest)
    if execution.reduce_only:
        quantity = min(quantity, book.positions[execution.symbol].quantity)
    quantity = filters.floor_quantity(quantity)
    price = view.last if step.price is None else min(step.price, view.last)
    small = not execution.reduce_only and quantity * price < filters.min_notional
    if quantity > 0 and quantity >= filters.min_quantity and not small:
        return quantity
    if step.slices_sent and not step.last:
        return None  # the next part takes it with it
    reason = f"the remaining {execution.left} is below the exchange's least order"
    stop(book, execution, reason, "too_small")
    return None


def _withdraw(book: Book, execution: Execution, order: Order, cause: str) -> None:
    """Cancel what rests; what takes at once ends by itself."""
    if order.state is OrderState.INTENT:
        orders.move(book, order, OrderState.CANCELED, "withdrawn", reason=cause)
        _advance(book, execution.execution_id)
        return
    if order.state not in LIVE_ON_EXCHANGE or not resting(order):
        return
    name = order.client_order_id
    if name in book.announced or name in book.executing.cancel_tried:
        return
    book.executing.cancel_tried.add(name)
    orders.cancel(book, order)
    if not execution.withdrawing:
        _keep(book, life.changed(execution, time=book.time, withdrawing=True), cause)


def _fail(book: Book, execution: Execution, reason: str) -> Execution:
    if not execution.sends:
        return execution
    return _enter(book, execution, ExecutionPhase.FAILING, reason, "refused")


def _enter(
    book: Book, execution: Execution, phase: ExecutionPhase, reason: str, cause: str
) -> Execution:
    return _keep(book, life.enter(execution, phase, time=book.time, reason=reason), cause)


def _keep(book: Book, execution: Execution, cause: str) -> Execution:
    book.executing.put(execution)
    book.executing.untold.setdefault(execution.execution_id, cause)
    return execution
