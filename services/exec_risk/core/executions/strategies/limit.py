"""LIMIT and ICEBERG: orders that wait near the market and follow it.

The price is that of the first in line, never worse than the cap from the reference price or the
caller's limit. When the market has moved away by some ticks, and not too soon after the last
price, the order is withdrawn and, when its end is known, its remainder priced anew. IOC and FOK
take at once up to the worst price, in one order. Post-only starts a tick further from the market
with each refusal. ICEBERG shows one part at a time.
"""

from __future__ import annotations

from decimal import Decimal

from services.exec_risk.core.executions.strategies.steps import (
    GiveUp,
    Send,
    Step,
    View,
    Withdraw,
    finish,
    resting,
    rounded,
    worst,
)
from services.trade.execution import Execution
from services.trade.order import Order, OrderType, Side, TimeInForce

_AT_ONCE = (TimeInForce.IOC, TimeInForce.FOK)


def step(execution: Execution, child: Order | None, view: View) -> Step | None:
    """Return what is to be done next."""
    at_once = execution.time_in_force in _AT_ONCE
    if at_once and execution.orders and child is None and not execution.refusals:
        return GiveUp(f"{execution.time_in_force}: what did not fill at once is cancelled")
    if view.time >= execution.deadline_time and not at_once:
        return finish(execution, child, view)
    if child is None:
        price = worst(execution, view.filters) if at_once else price_of(execution, view)
        cause = "priced" if execution.orders else "decided"
        quantity = _shown(execution, view)
        return Send(quantity, OrderType.LIMIT, price, execution.time_in_force, cause)
    return _follow(execution, child, view)


def price_of(execution: Execution, view: View) -> Decimal:
    """Return the price at which the execution waits now."""
    side, filters = execution.side, view.filters
    near = rounded(view.near(side), side, filters)
    if execution.time_in_force is TimeInForce.GTX:
        behind = execution.refusals if _quoted(view, side) else execution.refusals + 1
        near -= side.sign * filters.tick_size * behind
    bound = worst(execution, filters)
    return min(near, bound) if side is Side.BUY else max(near, bound)


def _quoted(view: View, side: Side) -> bool:
    return (view.bid if side is Side.BUY else view.ask) is not None


def _shown(execution: Execution, view: View) -> Decimal:
    """Return the part to show; a rest too small for an order of its own is shown with it."""
    display = execution.display_quantity
    if display is None or execution.left <= display:
        return execution.left
    rest = execution.left - display
    small = rest * view.last < view.filters.min_notional or rest < view.filters.min_quantity
    return execution.left if small else display


def _follow(execution: Execution, child: Order, view: View) -> Step | None:
    if not resting(child) or child.price is None:
        return None
    if view.time - child.decided_time < view.policy.reprice_ms:
        return None
    away = (price_of(execution, view) - child.price) * execution.side.sign
    if away >= view.policy.reprice_ticks * view.filters.tick_size:
        return Withdraw("market moved away")
    return None
