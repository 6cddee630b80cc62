"""From a signal to an entry order, or to the named reason why not."""

from __future__ import annotations

from services.exec_risk.core.effects import EntryPlan, StorePlan
from services.exec_risk.core.executions import executing
from services.exec_risk.core.executions.execution_plan import Wanted, planned
from services.exec_risk.core.facts import RiskDecided
from services.exec_risk.core.inputs import LeverageAnswered, Signal
from services.exec_risk.core.orders import orders
from services.exec_risk.core.protection import guard, protection
from services.exec_risk.core.risk import leverage
from services.exec_risk.core.risk.entry import Entry
from services.exec_risk.core.risk.sizing import Size
from services.exec_risk.core.rules import blocked_by, judge
from services.exec_risk.core.state import Book
from services.trade import ids
from services.trade.order import OrderPurpose, OrderState
from services.trade.position import ExitReason, PositionSide


def consider(book: Book, signal: Signal, now: int) -> None:
    """Judge a signal of a round: an opposite one closes, others may enter."""
    position = book.positions.get(signal.symbol)
    _stop_opposite(book, signal)
    if position is not None and PositionSide.opened_by(signal.side) is not position.side:
        guard.close(book, position, ExitReason.SIGNAL_EXIT, "signal in the other direction")
        text = f"{signal.side} closes the {position.side} position"
        book.emit(
            RiskDecided(
                signal.signal_id,
                signal.symbol,
                True,
                "signal_exit",
                text,
                now,
                trace_id=signal.trace_id,
            )
        )
        return
    entry = Entry(book, signal, now, leverage_of(book, signal))
    verdict = judge(entry)
    size = entry.size if verdict.approved else None
    book.emit(
        RiskDecided(
            signal.signal_id,
            signal.symbol,
            verdict.approved,
            verdict.rule,
            verdict.reason,
            now,
            size.notional if size else None,
            size.quantity if size else None,
            entry.leverage if size else 0,
            signal.trace_id,
        )
    )
    if size is not None:
        _warn_of_funding(book, entry)
        _enter(book, entry, size)


def _warn_of_funding(book: Book, entry: Entry) -> None:
    paid, limit = entry.funding_paid(), book.policy.risk.warn_funding
    if paid is not None and paid >= limit:
        symbol = entry.signal.symbol
        text = f"entry of {symbol} pays funding of {paid} a settlement, warned from {limit}"
        book.alert("LOW", "FUNDING_HIGH", text, symbol=symbol)


def leverage_of(book: Book, signal: Signal) -> int:
    """Return the leverage that an entry on this signal uses; the rules refuse what is absurd."""
    filters = book.filters.get(signal.symbol)
    if filters is None:
        return book.policy.leverage
    try:
        stop, _ = protection.fractions(
            signal.atr_fraction, signal.confidence, book.policy.protection
        )
    except protection.AbsurdDistance:
        return book.policy.entry_leverage(filters)
    return leverage.of_entry(book, filters, stop)


def _stop_opposite(book: Book, signal: Signal) -> None:
    """What is left of an entry in the other direction is not wanted any more."""
    for execution in book.executing.entering(signal.symbol):
        if execution.side is not signal.side:
            executing.stop(book, execution, "signal in the other direction", "signal_exit")


def _enter(book: Book, entry: Entry, size: Size) -> None:
    signal = entry.signal
    plan = EntryPlan(
        position_id=ids.position_id(book.policy.account, signal.signal_id),
        symbol=signal.symbol,
        side=PositionSide.opened_by(signal.side),
        leverage=entry.leverage,
        stop_fraction=entry.stop_fraction,
        take_fraction=entry.take_fraction,
        price=entry.price,
        decided_time=entry.now,
        atr_fraction=signal.atr_fraction,
        signal_id=signal.signal_id,
        expires_at=signal.expires_at,
        confidence=signal.confidence,
        model_version=signal.model_version,
        in_sample=signal.in_sample,
        trace_id=signal.trace_id,
    )
    if (plan.position_id, OrderPurpose.ENTRY) in book.counts:
        return  # one candle, one decision: this signal has had its order
    book.plans[plan.position_id] = plan
    book.emit(StorePlan(plan))
    wanted = Wanted(
        decision=signal.signal_id,
        symbol=signal.symbol,
        side=signal.side,
        quantity=size.quantity,
        position_id=plan.position_id,
        strategy=book.policy.execution.entry_strategy,
        signal_id=signal.signal_id,
        latest=signal.expires_at,
    )
    executing.begin(book, planned(book, wanted))


def leverage_answered(book: Book, answer: LeverageAnswered) -> None:
    """Send the entries that waited for the leverage, or withdraw them when it is not right."""
    if answer.leverage is not None:
        book.leverage[answer.symbol] = answer.leverage
    for order in book.live_orders(answer.symbol):
        if order.state is not OrderState.INTENT:
            continue
        plan = book.plans[order.position_id]
        gate = blocked_by(book)
        if gate:
            orders.move(book, order, OrderState.CANCELED, "gate_closed", reason=gate)
            continue
        if answer.leverage == plan.leverage:
            orders.submit(book, order)
            continue
        reason = answer.reason or f"leverage is {answer.leverage}, not {plan.leverage}"
        orders.move(book, order, OrderState.CANCELED, "leverage_not_set", reason=reason)
        book.alert("MEDIUM", "LEVERAGE_NOT_SET", reason, symbol=answer.symbol)
