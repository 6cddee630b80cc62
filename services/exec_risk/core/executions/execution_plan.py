"""From what is wanted to an execution: strategy, parts, deadline."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.exec_risk.core.executions import impact
from services.exec_risk.core.executions.strategies import sliced, smart
from services.exec_risk.core.risk import fund
from services.exec_risk.core.state import Book
from services.trade import ids
from services.trade.execution import Execution, ExecutionStrategy, Slice
from services.trade.filters import SymbolFilters
from services.trade.order import Side, TimeInForce

_SLICED = (ExecutionStrategy.TWAP, ExecutionStrategy.VWAP)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be executed; `decision` is the signal or request that it follows from."""

    decision: str
    symbol: str
    side: Side
    quantity: Decimal
    position_id: str
    strategy: ExecutionStrategy
    reduce_only: bool = False
    signal_id: str = ""
    limit_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    duration_ms: int = 0
    """Time until it ends; the policy's when 0."""
    latest: int | None = None
    """Market time after which it would be stale."""
    max_slippage: Decimal | None = None


def execution_id(account: str, decision: str) -> str:
    """Id of the one execution that a decision leads to."""
    return "exe-" + ids.digest("execution", account, decision, length=28)


def planned(book: Book, wanted: Wanted) -> Execution:
    """Return the execution, not begun; the symbol's filters and price must be known."""
    policy, filters = book.policy.execution, book.filters[wanted.symbol]
    price = book.last_price(wanted.symbol)
    if price is None:
        raise ValueError(f"no price of {wanted.symbol} is known")
    profile = book.executing.volumes.get(wanted.symbol)
    spread = book.executing.quoted_spread(wanted.symbol)
    moved = impact.expected(wanted.quantity, profile, spread)
    cap, limits = policy.max_slippage, fund.limits_of(book)
    if limits is not None and not wanted.reduce_only:
        cap = min(cap, limits.max_slippage)
    if wanted.max_slippage is not None:
        cap = min(cap, wanted.max_slippage)
    strategy = smart.chosen(wanted.strategy, moved, policy)
    duration = wanted.duration_ms or policy.timeout_ms
    deadline = book.time + duration
    if wanted.latest is not None:
        deadline = min(deadline, wanted.latest)
    # the exchange's least notional does not hold for what reduces
    least = filters.min_quantity if wanted.reduce_only else _least(filters, price)
    parts: tuple[Slice, ...] = ()
    if strategy in _SLICED:
        count = smart.slices_for(moved, cap, policy)
        times = [book.time + (deadline - book.time) * k // count for k in range(count)]
        weights = [_weight(book, wanted.symbol, strategy, time) for time in times]
        parts = sliced.schedule(wanted.quantity, times, weights, filters, least)
    display = None
    if strategy is ExecutionStrategy.ICEBERG:
        display = max(filters.ceil_quantity(wanted.quantity * policy.display_share), least)
    return Execution(
        execution_id=execution_id(book.policy.account, wanted.decision),
        account=book.policy.account,
        symbol=wanted.symbol,
        side=wanted.side,
        strategy=strategy,
        quantity=wanted.quantity,
        reference_price=price,
        started_time=book.time,
        deadline_time=deadline,
        position_id=wanted.position_id,
        expected_impact=moved,
        max_slippage=cap,
        reduce_only=wanted.reduce_only,
        limit_price=wanted.limit_price,
        time_in_force=wanted.time_in_force,
        schedule=parts,
        display_quantity=display,
        signal_id=wanted.signal_id,
        updated_time=book.time,
    )


def _least(filters: SymbolFilters, price: Decimal) -> Decimal:
    """Return the least quantity of an order, with room for the price to fall by a twentieth."""
    by_notional = filters.ceil_quantity(filters.min_notional * Decimal("1.05") / price)
    return max(by_notional, filters.min_quantity)


def _weight(book: Book, symbol: str, strategy: ExecutionStrategy, time: int) -> Decimal:
    profile = book.executing.volumes.get(symbol)
    if strategy is ExecutionStrategy.TWAP or profile is None:
        return Decimal(1)
    return profile.weight(time)
