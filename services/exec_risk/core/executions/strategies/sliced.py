"""TWAP and VWAP: parts of the quantity over time, each taken at once within the cap.

The parts are fixed at the decision. What is due by now less what is filled is what the next order
asks for, so that a part which filled short is made up by the next one and nothing is sent twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from services.exec_risk.core.executions.strategies.steps import Send, Step, View, finish, worst
from services.trade.execution import Execution, Slice
from services.trade.filters import SymbolFilters
from services.trade.order import Order, OrderType, TimeInForce


def step(execution: Execution, child: Order | None, view: View) -> Step | None:
    """Return what is to be done next."""
    if view.time >= execution.deadline_time:
        return finish(execution, child, view)
    if child is not None:
        return None
    due = [s for s in execution.schedule if s.time <= view.time]
    if len(due) <= execution.slices_sent:
        return None
    quantity = sum((s.quantity for s in due), Decimal(0)) - execution.filled_quantity
    if quantity <= 0:
        return None
    return Send(
        quantity,
        OrderType.LIMIT,
        worst(execution, view.filters),
        TimeInForce.IOC,
        "slice_due",
        slices_sent=len(due),
    )


def schedule(
    quantity: Decimal,
    times: Sequence[int],
    weights: Sequence[Decimal],
    filters: SymbolFilters,
    least: Decimal,
) -> tuple[Slice, ...]:
    """Divide a quantity over times by weights: multiples of the step, the sum exact.

    A part below `least` takes the next ones with it; a last one that is too small goes with the
    one before it.
    """
    total = sum(weights, Decimal(0))
    if total <= 0:
        weights, total = [Decimal(1)] * len(times), Decimal(len(times))
    parts: list[Slice] = []
    given = weight = pending = Decimal(0)
    since = times[0]
    for number, (time, share) in enumerate(zip(times, weights, strict=True), start=1):
        weight += share
        since = since if pending else time
        whole = quantity if number == len(times) else quantity * weight / total
        pending += filters.floor_quantity(whole) - given if number < len(times) else whole - given
        given = quantity if number == len(times) else filters.floor_quantity(whole)
        if pending >= least and pending > 0:
            parts.append(Slice(since, pending))
            pending = Decimal(0)
    if pending and parts:
        parts[-1] = Slice(parts[-1].time, parts[-1].quantity + pending)
    return tuple(parts) or (Slice(times[0], quantity),)
