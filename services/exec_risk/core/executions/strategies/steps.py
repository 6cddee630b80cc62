"""What a strategy sees and what it can answer."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.exec_risk.core.executions.execution_policy import ExecutionPolicy
from services.trade.execution import Execution, ExecutionPhase
from services.trade.filters import SymbolFilters
from services.trade.order import Order, OrderType, Side, TimeInForce


@dataclass(frozen=True, slots=True)
class View:
    """The market of one symbol at a market time; bid and ask are None when not known."""

    time: int
    last: Decimal
    filters: SymbolFilters
    policy: ExecutionPolicy
    bid: Decimal | None = None
    ask: Decimal | None = None

    def near(self, side: Side) -> Decimal:
        """Return the price at which an order of this side waits first in line."""
        quoted = self.bid if side is Side.BUY else self.ask
        return self.last if quoted is None else quoted


@dataclass(frozen=True, slots=True)
class Send:
    """Send one order; without a price at market. `last`: nothing follows it."""

    quantity: Decimal
    type: OrderType = OrderType.MARKET
    price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    cause: str = "decided"
    last: bool = False
    slices_sent: int = 0


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Cancel the order that rests; what is left goes on when its end is known."""

    cause: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Send nothing more."""

    reason: str


Step = Send | Withdraw | GiveUp


def rounded(price: Decimal, side: Side, filters: SymbolFilters) -> Decimal:
    """Return a price on the tick that is not worse than the given one."""
    return filters.floor_price(price) if side is Side.BUY else filters.ceil_price(price)


def worst(execution: Execution, filters: SymbolFilters) -> Decimal:
    """Return the worst price on the tick that cap and caller allow."""
    side = execution.side
    bound = execution.reference_price * (1 + side.sign * execution.max_slippage)
    limit = execution.limit_price
    if limit is not None:
        bound = min(bound, limit) if side is Side.BUY else max(bound, limit)
    return rounded(bound, side, filters)


def resting(order: Order) -> bool:
    """Tell whether an order waits at a price until it is cancelled."""
    return order.type is OrderType.LIMIT and order.time_in_force in (
        TimeInForce.GTC,
        TimeInForce.GTX,
    )


def finish(execution: Execution, child: Order | None, view: View) -> Step | None:
    """End an execution whose time is over.

    What rests is withdrawn; what is left is then taken at once, an entry or a caller's limit
    within the worst price, an exit without a limit at market, because it has to end. A post-only
    execution never takes.
    """
    if child is not None:
        return Withdraw("deadline") if resting(child) else None
    if execution.time_in_force is TimeInForce.GTX:
        return GiveUp("its time is over")
    exit_at_market = execution.reduce_only and execution.limit_price is None
    if exit_at_market:
        return Send(execution.left, cause="deadline", last=True)
    if execution.phase is ExecutionPhase.LAST:
        return GiveUp("its time is over")
    return Send(
        execution.left,
        OrderType.LIMIT,
        worst(execution, view.filters),
        TimeInForce.IOC,
        "deadline",
        last=True,
    )
