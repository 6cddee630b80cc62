"""What the fund asks of open positions: carried out once, never more than the position allows.

A directive is applied at the first event from its `effective_from` on, and never after its
deadline. What reduces asks no gate; what adds asks every rule of entries. Of several that are due
together the layer that comes first in PRECEDENCE is heard first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from services.exec_risk.core import isolation
from services.exec_risk.core.executions import executing
from services.exec_risk.core.executions.execution_plan import Wanted, execution_id, planned
from services.exec_risk.core.facts import DirectiveApplied, RiskDecided
from services.exec_risk.core.inputs import Signal
from services.exec_risk.core.protection import guard
from services.exec_risk.core.risk.entry import Entry
from services.exec_risk.core.rules import judge
from services.exec_risk.core.state import KEEP_MS, Book
from services.trade.execution import ExecutionStrategy
from services.trade.fund_policy import PRECEDENCE, Directive, DirectiveAction, Layer
from services.trade.position import ExitReason, Position

APPLIED, REFUSED, EXPIRED = "APPLIED", "REFUSED", "EXPIRED"
_ORDER = (Layer.OPERATOR, *PRECEDENCE)
_ALL = Decimal(1)


def heard(book: Book, directive: Directive) -> None:
    """Take in a directive; one that is another account's, was answered or is long over is none."""
    if directive.account != book.policy.account or directive.directive_id in book.directives:
        return
    if directive.deadline < book.time - KEEP_MS:
        return
    book.directives_waiting[directive.directive_id] = directive


def work(book: Book) -> None:
    """Apply what is due, one after another; called after each event while something waits."""
    due = [d for d in book.directives_waiting.values() if d.effective_from <= book.time]
    isolation.each(book, sorted(due, key=_place), _apply)


def _place(directive: Directive) -> tuple[int, int, str]:
    return _ORDER.index(directive.layer), directive.effective_from, directive.directive_id


def _apply(book: Book, directive: Directive) -> None:
    # first of all, so that nothing that fails below makes it come again
    del book.directives_waiting[directive.directive_id]
    book.directives[directive.directive_id] = directive.deadline
    if book.time > directive.deadline:
        _tell(book, directive, EXPIRED, f"deadline was {directive.deadline}, now is {book.time}")
        return
    position = book.positions.get(directive.symbol)
    if position is None or position.position_id != directive.position_id:
        _tell(book, directive, REFUSED, "position_gone")
        return
    if position.exit_reason is not None:
        _tell(book, directive, REFUSED, f"exit_under_way: {position.exit_reason}")
        return
    known = {o.client_order_id for o in book.orders.of(position.position_id)}
    refusal = _ACTIONS[directive.action](book, directive, position)
    made = [o for o in book.orders.of(position.position_id) if o.client_order_id not in known]
    orders = tuple(o.client_order_id for o in made if o.reduce_only is not _adds(directive))
    _tell(book, directive, REFUSED if refusal else APPLIED, refusal, orders)


def _adds(directive: Directive) -> bool:
    return directive.action is DirectiveAction.SCALE_IN


def _tell(
    book: Book, directive: Directive, result: str, reason: str, orders: tuple[str, ...] = ()
) -> None:
    book.emit(
        DirectiveApplied(
            directive.directive_id,
            directive.symbol,
            result,
            reason,
            orders,
            directive.deadline,
            book.time,
            book.trace(directive.position_id),
        )
    )


def _reduce(book: Book, directive: Directive, position: Position) -> str:
    """Close a share of what is held now, by a reduce-only order; return why not."""
    if directive.share >= _ALL:
        return _close(book, directive, position)
    filters = book.filters.get(position.symbol)
    if filters is None:
        return "unknown_symbol"
    at_work = [e for e in book.executing.working if e.reduce_only and e.symbol == position.symbol]
    if at_work:
        return f"order_pending: execution {at_work[0].execution_id} is at work"
    quantity = filters.floor_quantity(position.quantity * directive.share)
    rest = position.quantity - quantity
    if quantity < filters.min_quantity or rest < filters.min_quantity:
        return f"too_small: {quantity} of {position.quantity} or the rest is below the least order"
    for entering in book.executing.entering(position.symbol):
        executing.stop(book, entering, f"the fund reduces: {directive.layer}", "reduced")
    _begin(book, directive, position, quantity, reduce_only=True)
    return ""


def _close(book: Book, directive: Directive, position: Position) -> str:
    why = f"{directive.layer}: {'; '.join(directive.reasons)}"
    guard.close(book, position, ExitReason.DIRECTIVE, why)
    return ""


def _scale_in(book: Book, directive: Directive, position: Position) -> str:
    """Add a share of what is held, if every rule of entries allows it; return which does not."""
    price, plan = book.price(position.symbol), book.plans.get(position.position_id)
    if price is None or plan is None:
        return "price: not known"
    signal = Signal(
        signal_id=directive.directive_id,
        venue=book.policy.venue,
        symbol=position.symbol,
        timeframe=book.policy.timeframe,
        side=position.side.entry_side,
        confidence=plan.confidence,
        price=price,
        atr_fraction=plan.atr_fraction,
        round_time=book.time,
        expires_at=directive.deadline,
        trace_id=plan.trace_id,
    )
    entry = Entry(
        book,
        signal,
        book.time,
        position.leverage,
        notional=position.quantity * directive.share * price,
        strategy=ExecutionStrategy.MARKET,
        adds_to=position.position_id,
        stop_asked=plan.stop_fraction,
        take_asked=plan.take_fraction,
    )
    verdict = judge(entry)
    size = entry.size if verdict.approved else None
    book.emit(
        RiskDecided(
            directive.directive_id,
            position.symbol,
            verdict.approved,
            verdict.rule,
            verdict.reason,
            book.time,
            size.notional if size else None,
            size.quantity if size else None,
            entry.leverage if size else 0,
            plan.trace_id,
        )
    )
    if size is None:
        return f"{verdict.rule}: {verdict.reason}"
    _begin(book, directive, position, size.quantity, reduce_only=False)
    return ""


def _extend(book: Book, directive: Directive, position: Position) -> str:
    """Put the exit by time off by a share of the longest holding time; asked twice, put off once.

    It is counted from the entry, so that no position is held for more than twice as long.
    """
    longest = book.policy.protection.max_holding_ms
    until = position.opened_time + longest + int(longest * directive.share)
    known = guard.progress_of(book, position)
    if until > known.hold_until:
        guard.keep_progress(book, replace(known, hold_until=until, version=known.version + 1))
    return ""


def _begin(
    book: Book, directive: Directive, position: Position, quantity: Decimal, *, reduce_only: bool
) -> None:
    side = position.side.exit_side if reduce_only else position.side.entry_side
    wanted = Wanted(
        decision=directive.directive_id,
        symbol=position.symbol,
        side=side,
        quantity=quantity,
        position_id=position.position_id,
        strategy=ExecutionStrategy.MARKET,
        reduce_only=reduce_only,
        signal_id=directive.directive_id,
        latest=None if reduce_only else directive.deadline,
    )
    if execution_id(book.policy.account, directive.directive_id) not in book.executing.all:
        executing.begin(book, planned(book, wanted))


_ACTIONS: dict[DirectiveAction, Callable[[Book, Directive, Position], str]] = {
    DirectiveAction.REDUCE: _reduce,
    DirectiveAction.PARTIAL_TAKE_PROFIT: _reduce,
    DirectiveAction.CLOSE: _close,
    DirectiveAction.SCALE_IN: _scale_in,
    DirectiveAction.EXTEND_HOLD: _extend,
}
