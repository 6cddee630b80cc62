"""Faults of the market itself: prices that jump, orders that fill in small parts.

They are part of the live state and come as journaled inputs, so a restart replays them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from services.trade.filters import SymbolFilters
from services.venue.core.faults import FaultKind
from services.venue.core.orders import VenueOrder
from services.venue.core.steps import Point, Step

if TYPE_CHECKING:
    from services.venue.core.state import State


@dataclass(frozen=True, slots=True)
class Disturbance:
    """A gap or a partial fill in force. Empty fields match everything."""

    fault_id: str
    kind: FaultKind
    amount: Decimal
    """Relative jump of the price, or the share of an order that may fill in one step."""
    symbol: str = ""
    side: str = ""
    client_id: str = ""
    left: int = 1
    """Points that still jump, or fills that are still cut; 0: until removed."""
    until_ms: int = 0
    """Wall time at which the shell removes it; 0: never. Nothing here is decided by it."""


def bend(state: State, step: Step) -> Step:
    """Return a step whose points jump where a gap is in force, and use the gaps up."""
    gaps = [d for d in state.disturbances.values() if d.kind is FaultKind.GAP]
    if not gaps:
        return step
    points = []
    for point in step.points:
        hit = [gap for gap in gaps if gap.symbol in ("", point.symbol)]
        for gap in hit:
            filters = state.symbols[point.symbol].filters
            point = _jumped(point, gap.amount, filters)
        points.append(point)
    moved = {point.symbol for point in step.points}
    for gap in gaps:
        if not gap.symbol or gap.symbol in moved:
            _wear(state, gap)
    return replace(step, points=tuple(points))


def allowed(state: State, order: VenueOrder) -> Decimal | None:
    """Return how much of an order may fill in one step; None when nothing cuts it."""
    cuts = [_part(d, order, state) for d in _cutting(state, order)]
    return min(cuts, default=None)


def wear_out(state: State, order: VenueOrder) -> None:
    """Count one cut fill of an order."""
    for disturbance in _cutting(state, order):
        _wear(state, disturbance)


def _cutting(state: State, order: VenueOrder) -> list[Disturbance]:
    return [
        d
        for d in state.disturbances.values()
        if d.kind is FaultKind.PARTIAL
        and d.symbol in ("", order.symbol)
        and d.side in ("", order.side.value)
        and order.client_id.startswith(d.client_id)
    ]


def _part(disturbance: Disturbance, order: VenueOrder, state: State) -> Decimal:
    filters = state.symbols[order.symbol].filters
    return max(filters.step_size, filters.floor_quantity(order.quantity * disturbance.amount))


def _wear(state: State, disturbance: Disturbance) -> None:
    if disturbance.left == 1:
        del state.disturbances[disturbance.fault_id]
    elif disturbance.left:
        worn = replace(disturbance, left=disturbance.left - 1)
        state.disturbances[disturbance.fault_id] = worn


def _jumped(point: Point, fraction: Decimal, filters: SymbolFilters) -> Point:
    price = filters.floor_price(point.price * (1 + fraction))
    return replace(point, price=max(filters.tick_size, price), continuous=False)
