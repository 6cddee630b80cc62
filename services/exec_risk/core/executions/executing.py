"""Working executions: orders are made one after another until the quantity is filled.

One order of an execution lives at a time, and one whose outcome is not known counts as living, so
that what is filled and what may still fill never exceed the quantity together. Every gate of
entries stops what is left of an entry; nothing stops what makes a position smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from services.exec_risk.core import isolation
from services.exec_risk.core.actions import SetLeverage
from services.exec_risk.core.executions import execution_life as life
from services.exec_risk.core.executions.child_ends import judged
from services.exec_risk.core.executions.execution_changes import enter, keep
from services.exec_risk.core.executions.strategies import limit, market, sliced
from services.exec_risk.core.executions.strategies.steps import (
    GiveUp,
    Send,
    Step,
    View,
    Withdraw,
    resting,
)
from services.exec_risk.core.facts import ExecutionChanged
from services.exec_risk.core.orders import orders
from services.exec_risk.core.orders.order_kinds import LIVE_ON_EXCHANGE
from services.exec_risk.core.rules import blocked_by
from services.exec_risk.core.state import Book
from services.trade.execution import Execution, ExecutionPhase, ExecutionStrategy
from services.trade.order import (
    Fill,
    Order,
    OrderPurpose,
    OrderState,
)
from services.trade.values import with_values

_UNKNOWN_GATES = ("exchange", "equity", "fund_policy")
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
    keep(book, execution, "decided")
    _advance(book, execution.execution_id)


def work(book: Book) -> None:
    """Bring every working execution one step on; called after each event."""
    isolation.each(book, [e.execution_id for e in book.executing.working], _advance)


def tell(book: Book) -> list[str]:
    """Report each execution that changed in this step, once; return their symbols."""
    symbols = sorted({book.executing.all[name].symbol for name in book.executing.untold})
    for execution_id, cause in book.executing.untold.items():
        execution = book.executing.all[execution_id]
        execution = with_values(execution, version=execution.version + 1)
        book.executing.put(execution)
        book.emit(ExecutionChanged(execution, cause, book.trace(execution.position_id)))
    book.executing.untold.clear()
    return symbols


def filled(book: Book, order: Order, fill: Fill) -> None:
    """Add a fill of one of its orders, whatever the state of the execution."""
    execution = book.executing.all.get(order.execution_id)
    if execution is not None:
        keep(book, life.with_fill(execution, fill), "fill")


def stop(book: Book, execution: Execution, reason: str, cause: str) -> None:
    """Send nothing more; what rests is withdrawn."""
    if execution.sends:
        enter(book, execution, ExecutionPhase.STOPPING, reason, cause)
        _advance(book, execution.execution_id)


def _advance(book: Book, execution_id: str) -> None:
    """Judge what ended, ask what stops it, then do what its strategy says."""
    execution = judged(book, book.executing.all[execution_id])
    siblings = book.orders.of(execution.position_id)
    living = [o for o in siblings if o.execution_id == execution_id and not o.state.final]
    if execution.sends:
        why = stopped_by(book, execution)
        if why:
            execution = enter(book, execution, ExecutionPhase.STOPPING, why, "stopped")
    if not living and (not execution.left or not execution.sends):
        keep(book, life.end(execution, time=book.time), "ended")
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


def stopped_by(book: Book, execution: Execution) -> str:
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
    plan = book.plans.get(execution.position_id)
    decided = plan is not None and execution.signal_id == plan.signal_id
    if decided and plan is not None and plan.expires_at and book.time > plan.expires_at:
        return f"its signal expired at {plan.expires_at}"
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
    keep(book, sent, step.cause)


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
        keep(book, life.changed(execution, time=book.time, withdrawing=True), cause)
