"""From a signal to an entry order, or to the named reason why not."""

from __future__ import annotations

from services.exec_risk.core import guard, leverage, orders, protection
from services.exec_risk.core.effects import (
    EntryPlan,
    RiskDecided,
    SetLeverage,
    StorePlan,
)
from services.exec_risk.core.entry import Entry
from services.exec_risk.core.exchange_events import Refused
from services.exec_risk.core.inputs import LeverageAnswered, Signal
from services.exec_risk.core.rules import blocked_by, judge
from services.exec_risk.core.sizing import Size
from services.exec_risk.core.state import Book
from services.trade import ids
from services.trade.order import Order, OrderPurpose, OrderState, OrderType
from services.trade.position import ExitReason, PositionSide


def consider(book: Book, signal: Signal, now: int) -> None:
    """Judge a signal of a round: an opposite one closes, others may enter."""
    position = book.positions.get(signal.symbol)
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
    confirmed = book.leverage.get(signal.symbol) == plan.leverage
    _order(book, plan, size, send=confirmed)
    if not confirmed:
        book.emit(SetLeverage(signal.symbol, plan.leverage))


def _order(book: Book, plan: EntryPlan, size: Size, *, send: bool) -> None:
    orders.create(
        book,
        symbol=plan.symbol,
        side=plan.side.entry_side,
        kind=OrderType.MARKET,
        purpose=OrderPurpose.ENTRY,
        quantity=size.quantity,
        position_id=plan.position_id,
        signal_id=plan.signal_id,
        send=send,
    )


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


def after_refusal(book: Book, order: Order, refused: Refused) -> None:
    """Send a proven refusal again under a new number where that can cure it."""
    plan = book.plans.get(order.position_id)
    number = book.counts.get((order.position_id, OrderPurpose.ENTRY), 0)
    fresh = plan is not None and book.time <= plan.expires_at
    if plan is None or not refused.retryable or not fresh or number >= book.policy.retry_attempts:
        text = f"entry of {order.symbol} was refused: {refused.code} {refused.message}"
        book.alert("LOW", "ENTRY_REFUSED", text, symbol=order.symbol)
        return
    blocked = book.positions.get(order.symbol) or book.live_orders(order.symbol)
    if not blocked and not blocked_by(book):
        size = Size(order.quantity, order.quantity * plan.price, order.quantity)
        _order(book, plan, size, send=True)
