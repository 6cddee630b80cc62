"""From the parameters of a call to what the exchange is asked for."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from services.trade.ids import digest
from services.trade.order import OrderType, TimeInForce
from services.venue.core import rejections
from services.venue.core.orders import (
    AmendRequest,
    ConditionalRequest,
    Kind,
    OrderRequest,
    PositionSide,
)
from services.venue.server.calls import Call

_E = TypeVar("_E", bound=StrEnum)
_KIND = (-1116, "Invalid orderType.")
_FORCE = (-1115, "Invalid timeInForce.")


def plain(call: Call, step: int) -> OrderRequest:
    """Read a plain order; one without a client id is named after the step and its parameters."""
    kind = _read(Kind, call.text("type"), _KIND)
    if kind.conditional:
        raise rejections.conditional_on_order()
    resting = kind is Kind.LIMIT
    return OrderRequest(
        symbol=call.text("symbol"),
        side=call.side(),
        type=OrderType(kind.value),
        quantity=needed(call, "quantity"),
        client_id=call.text("newClientOrderId", _made_id(call, step)),
        price=call.decimal("price"),
        time_in_force=_time_in_force(call.text("timeInForce")) if resting else TimeInForce.GTC,
        reduce_only=call.flag("reduceOnly"),
        position_side=_position_side(call),
    )


def amendment(call: Call) -> AmendRequest:
    """Read a new price and quantity of an order."""
    order_id, client_id = ids(call, "orderId", "origClientOrderId")
    return AmendRequest(
        symbol=call.text("symbol"),
        side=call.side(),
        quantity=needed(call, "quantity"),
        price=needed(call, "price"),
        order_id=order_id,
        client_id=client_id,
    )


def conditional(call: Call, step: int) -> ConditionalRequest:
    """Read a conditional order."""
    if call.text("algoType", "CONDITIONAL") != "CONDITIONAL":
        raise rejections.Rejection(-1102, "Invalid algoType.")
    kind = _read(Kind, call.text("type"), _KIND)
    if not kind.conditional:
        raise rejections.order_type()
    trailing = kind is Kind.TRAILING_STOP_MARKET
    return ConditionalRequest(
        symbol=call.text("symbol"),
        side=call.side(),
        type=kind,
        trigger_price=Decimal(0) if trailing else needed(call, "triggerPrice"),
        client_id=call.text("clientAlgoId", _made_id(call, step)),
        quantity=call.decimal("quantity"),
        reduce_only=call.flag("reduceOnly"),
        close_position=call.flag("closePosition"),
        working_type=call.text("workingType", "CONTRACT_PRICE"),
        price_protect=call.flag("priceProtect"),
        position_side=_position_side(call),
        price=call.decimal("price") if kind.limited else None,
        time_in_force=_time_in_force(call.text("timeInForce", "GTC")),
        callback_rate=call.decimal("callbackRate"),
        activation_price=call.decimal("activatePrice") or call.decimal("activationPrice"),
    )


def ids(call: Call, id_name: str, client_name: str) -> tuple[int, str]:
    """Read which order is meant; one of the two must be there."""
    number, client_id = call.integer(id_name, 0), call.parameters.get(client_name, "")
    if not number and not client_id:
        raise rejections.Rejection(
            -1102,
            f"Param '{client_name}' or '{id_name}' must be sent, but both were empty/null!",
        )
    return number, client_id


def needed(call: Call, name: str) -> Decimal:
    """Read a decimal that must be there."""
    value = call.decimal(name)
    if value is None:
        raise rejections.mandatory(name)
    return value


def _position_side(call: Call) -> PositionSide:
    refusal = rejections.position_side()
    text = call.text("positionSide", PositionSide.BOTH.value)
    return _read(PositionSide, text, (refusal.code, refusal.message))


def _time_in_force(text: str) -> TimeInForce:
    return _read(TimeInForce, text, _FORCE)


def _read(kind: type[_E], text: str, refusal: tuple[int, str]) -> _E:
    try:
        return kind(text)
    except ValueError:
        raise rejections.Rejection(*refusal) from None


def _made_id(call: Call, step: int) -> str:
    parts = [f"{key}={value}" for key, value in sorted(call.parameters.items())]
    return "web_" + digest(step, *parts, length=24)
