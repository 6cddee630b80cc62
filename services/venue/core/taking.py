"""From a request that was taken to the order that the venue keeps."""

from __future__ import annotations

from services.trade.order import OrderType
from services.venue.core.account import ZERO
from services.venue.core.chance import identity
from services.venue.core.orders import (
    Conditional,
    ConditionalRequest,
    Kind,
    OrderRequest,
    VenueOrder,
)
from services.venue.core.state import State


def plain_order(request: OrderRequest, state: State) -> VenueOrder:
    """Return a plain order on its way to the book."""
    return VenueOrder(
        order_id=identity("order", state.seed, request.symbol, request.client_id, state.number),
        client_id=request.client_id,
        symbol=request.symbol,
        side=request.side,
        type=request.type,
        original_type=Kind(request.type),
        position_side=request.position_side,
        quantity=request.quantity,
        time_in_force=request.time_in_force,
        reduce_only=request.reduce_only,
        close_position=False,
        decided_time=state.time,
        price=request.price if request.type is OrderType.LIMIT else None,
        update_time=state.time,
    )


def conditional_order(request: ConditionalRequest, state: State) -> Conditional:
    """Return a conditional order on its way to the book."""
    kind = Kind(request.type)
    trailing = kind is Kind.TRAILING_STOP_MARKET
    return Conditional(
        algo_id=identity("algo", state.seed, request.client_id, state.number),
        client_id=request.client_id,
        symbol=request.symbol,
        side=request.side,
        type=kind,
        trigger_price=ZERO if trailing else request.trigger_price,
        quantity=request.quantity or ZERO,
        reduce_only=request.reduce_only,
        close_position=request.close_position,
        working_type=request.working_type,
        price_protect=request.price_protect,
        decided_time=state.time,
        update_time=state.time,
        position_side=request.position_side,
        price=request.price if kind.limited else None,
        time_in_force=request.time_in_force,
        callback_rate=request.callback_rate if trailing else None,
        activation_price=request.activation_price if trailing else None,
    )
