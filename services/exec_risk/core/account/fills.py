"""How fills change the account. A fill applies once and is never refused."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from services.exec_risk.core.account import results
from services.exec_risk.core.account.periods import Day
from services.exec_risk.core.effects import EntryPlan, StorePlan
from services.exec_risk.core.executions import executing
from services.exec_risk.core.facts import (
    FillRecorded,
    PositionChanged,
    PositionClosed,
    PositionOpened,
    ReconcileRepaired,
)
from services.exec_risk.core.orders import lifecycle, orders
from services.exec_risk.core.protection import guard
from services.exec_risk.core.protection.protection import AbsurdDistance
from services.exec_risk.core.reconciling.differences import QUANTITIES
from services.exec_risk.core.risk import safety
from services.exec_risk.core.state import Book
from services.trade import ids
from services.trade.order import Fill, Order, OrderPurpose
from services.trade.position import ExitReason, Position, PositionSide

REST = ".rest"
"""End of the trade id under which the rest of a fill is kept that closed one position and opened
another."""
_SMALLEST = Decimal("0.00000001")
_LIQUIDATION_IDS = ("autoclose-", "adl_autoclose")
"""How the client ids of the exchange's own orders begin."""


def apply_fill(book: Book, fill: Fill, cause: str = "user_stream") -> None:
    """Apply a fill once by (symbol, trade id): order, position, wallet, day, protection."""
    key = (fill.symbol, fill.trade_id)
    if key in book.seen_fills or book.past(fill):
        return
    book.seen_fills[key] = fill.time
    book.time = max(book.time, fill.time)
    book.day(fill.time)
    if book.wallet is not None:
        book.wallet += fill.realized_pnl - fill.commission
    order = book.orders.get(fill.client_order_id)
    if order is not None:
        paid = book.commissions.get(fill.client_order_id, Decimal(0))
        book.commissions[fill.client_order_id] = paid + fill.commission
    _drop_doubts(book, fill.symbol)
    parts = _parts(book, fill)
    for part in parts:
        reduces = _reduces(book, part)
        position_id = _to_position(book, part, order)
        purpose = order.purpose if order else OrderPurpose.ENTRY
        if reduces is (purpose is OrderPurpose.ENTRY):
            # what a fill does counts, not what its order was for
            purpose = OrderPurpose.EXIT if reduces else OrderPurpose.ENTRY
        book.emit(FillRecorded(part, position_id, purpose, book.trace(position_id)))
    if cause != "user_stream":
        detail = f"fill {fill.trade_id} of {fill.quantity} at {fill.price} was missed"
        _repaired(book, fill, "missed_fill", detail)
    if order is not None:
        _to_order(book, order, fill, cause)
    held = book.positions.get(fill.symbol)
    if held is None or held.position_id != position_id:
        guard.release(book, position_id)
    book.prices.setdefault(fill.symbol, (fill.price, fill.time))
    guard.keep_protected(book, fill.symbol)
    # with the fill in one transaction: a restart that knows the fill knows the wallet after it
    book.store_account()


def _drop_doubts(book: Book, symbol: str) -> None:
    """Begin anew to compare what is held: a reading from before a fill proves nothing after it."""
    book.drift.pop(symbol, None)
    if book.suspected:
        book.suspected = frozenset(
            key for key in book.suspected if key[1] != symbol or key[0] not in QUANTITIES
        )


def _to_order(book: Book, order: Order, fill: Fill, cause: str) -> None:
    late = order.state.final
    changed = lifecycle.with_fill(order, fill)
    orders.keep(book, order, changed, cause)
    if late:
        book.alert(
            "HIGH",
            "LATE_FILL",
            f"{order.client_order_id} was {order.state} and filled {fill.quantity} more",
            symbol=order.symbol,
        )
    executing.filled(book, changed, fill)
    orders.settle_announced(book, changed)


def _to_position(book: Book, fill: Fill, order: Order | None) -> str:
    """Apply a fill to the position that it belongs to and return its id."""
    position = book.positions.get(fill.symbol)
    if position is None:
        plan = _own_plan(book, order)
        return _open(book, fill, plan or _adopt(book, fill))
    if fill.side is position.side.entry_side:
        return _grow(book, position, fill)
    return _reduce(book, position, fill, order)


def _own_plan(book: Book, order: Order | None) -> EntryPlan | None:
    if order is None or order.purpose is not OrderPurpose.ENTRY:
        return None
    execution = book.executing.all.get(order.execution_id)
    if order.state.final and (execution is None or execution.state.final):
        return None
    if any(e.filled_quantity for e in book.executing.of_position(order.position_id)):
        return None  # what it opened is closed again: this one is nobody's
    return book.plans.get(order.position_id)


def _adopt(book: Book, fill: Fill) -> EntryPlan:
    """Make a plan for a position that no decision of ours opened."""
    policy = book.policy
    decision = f"adopted.{fill.symbol}.{fill.trade_id}"
    plan = EntryPlan(
        position_id=ids.position_id(policy.account, decision),
        symbol=fill.symbol,
        side=PositionSide.opened_by(fill.side),
        leverage=book.leverage.get(fill.symbol, policy.leverage),
        stop_fraction=policy.protection.min_stop_fraction * 2,
        take_fraction=policy.protection.min_take_fraction * 2,
        price=fill.price,
        decided_time=fill.time,
    )
    text = f"fill {fill.trade_id} opened {fill.quantity} {fill.side} without a decision of ours"
    book.alert("HIGH", "UNKNOWN_POSITION", text, symbol=fill.symbol)
    _repaired(book, fill, "adopted_position", text)
    return plan


def _open(book: Book, fill: Fill, plan: EntryPlan) -> str:
    if plan.position_id not in book.plans:
        book.plans[plan.position_id] = plan
        book.emit(StorePlan(plan))
    known = book.closed.pop(plan.position_id, None)
    if known is not None:
        return _reopen(book, fill, known)
    own = plan.signal_id != "" or bool(book.executing.of_position(plan.position_id))
    position = Position(
        position_id=plan.position_id,
        account=book.policy.account,
        symbol=fill.symbol,
        side=plan.side,
        opened_time=fill.time,
        leverage=plan.leverage,
        signal_id=plan.signal_id,
        trace_id=plan.trace_id,
        entry_confidence=plan.confidence,
        entry_model=plan.model_version,
        in_sample=plan.in_sample,
        exit_reason=None if own or book.policy.adopt_positions else ExitReason.MANUAL,
        version=0,
    ).with_fill(fill)
    book.positions[fill.symbol] = position
    book.day(fill.time).opened += 1
    _count(book, fill.time, position.net_pnl)
    stop, take = planned_levels(book, position)
    book.emit(PositionOpened(position, stop, take, book.policy.protection.trailing))
    return position.position_id


def _reopen(book: Book, fill: Fill, closed: Position) -> str:
    """Go on with a position that was closed before the last fill of its entry came.

    A new one under the same id would begin with an old version, which no store takes.
    """
    book.results.drop(closed.position_id)
    position = replace(closed, closed_time=None, exit_reason=None).with_fill(fill)
    book.positions[fill.symbol] = position
    _count(book, fill.time, position.net_pnl - closed.net_pnl)
    text = f"{fill.symbol} was closed and its entry filled {fill.quantity} more"
    book.alert("HIGH", "LATE_FILL", text, symbol=fill.symbol)
    book.emit(PositionChanged(position))
    return position.position_id


def planned_levels(book: Book, position: Position) -> tuple[Decimal | None, Decimal | None]:
    """Return stop and nearest target from the average fill; None where they cannot be had."""
    try:
        found = guard.wanted(book, position)
    except AbsurdDistance:
        return None, None
    return found.stop, found.targets[0].price if found.targets else None


def _grow(book: Book, position: Position, fill: Fill) -> str:
    changed = position.with_fill(fill)
    book.positions[fill.symbol] = changed
    _count(book, fill.time, changed.net_pnl - position.net_pnl)
    book.emit(PositionChanged(changed))
    return position.position_id


def _reduce(book: Book, position: Position, fill: Fill, order: Order | None) -> str:
    changed = position.with_fill(fill)
    day = _count(book, fill.time, changed.net_pnl - position.net_pnl)
    if changed.quantity:
        if order is not None and order.purpose is OrderPurpose.TAKE_PROFIT:
            guard.note_taken(book, position, fill.quantity)
        book.positions[fill.symbol] = changed
        book.emit(PositionChanged(changed))
        return position.position_id
    closed = replace(
        changed,
        closed_time=fill.time,
        exit_reason=_exit_reason(book, position, order, fill.client_order_id),
        stop_loss_price=None,
        take_profit_price=None,
    )
    del book.positions[fill.symbol]
    book.closed[position.position_id] = closed
    book.last_closed[fill.symbol] = fill.time
    book.exit_hold.discard(position.position_id)
    day.trades += 1
    result = results.of_position(closed)
    day.losses += result.lost
    book.store_day(day)
    book.emit(PositionClosed(closed))
    book.results.add(result)
    safety.after_close(book, lost=result.lost)
    return position.position_id


def _reduces(book: Book, fill: Fill) -> bool:
    position = book.positions.get(fill.symbol)
    return position is not None and fill.side is position.side.exit_side


def _parts(book: Book, fill: Fill) -> tuple[Fill, ...]:
    """Split a fill that is larger than the position that it closes: the rest opens another.

    Each part is a fill of its own in every book, so that both positions add up from their fills.
    """
    position = book.positions.get(fill.symbol)
    if position is None or not _reduces(book, fill) or fill.quantity <= position.quantity:
        return (fill,)
    share = position.quantity / fill.quantity
    paid = (fill.commission * share).quantize(_SMALLEST)
    closing = replace(fill, quantity=position.quantity, commission=paid)
    rest = replace(
        fill,
        trade_id=f"{fill.trade_id}{REST}",
        quantity=fill.quantity - position.quantity,
        commission=fill.commission - paid,
        realized_pnl=Decimal(0),
    )
    return closing, rest


def _exit_reason(
    book: Book, position: Position, order: Order | None, client_order_id: str
) -> ExitReason:
    if order is None:
        liquidated = client_order_id.startswith(_LIQUIDATION_IDS)
        return ExitReason.LIQUIDATION if liquidated else position.exit_reason or ExitReason.MANUAL
    if order.purpose is OrderPurpose.ENTRY:
        return ExitReason.MANUAL
    if order.purpose is OrderPurpose.STOP_LOSS:
        moved = guard.stop_was_moved(book, position, order.trigger_price)
        return ExitReason.TRAILING_STOP if moved else ExitReason.STOP_LOSS
    if order.purpose is OrderPurpose.TAKE_PROFIT:
        return ExitReason.TAKE_PROFIT
    return position.exit_reason or ExitReason.MANUAL


def _count(book: Book, time: int, change: Decimal) -> Day:
    day = book.day(time)
    day.pnl += change
    book.store_day(day)
    return day


def _repaired(book: Book, fill: Fill, kind: str, detail: str) -> None:
    evidence = f"{fill.symbol}.{fill.trade_id}"
    book.emit(ReconcileRepaired(fill.symbol, kind, detail, book.time, evidence))
