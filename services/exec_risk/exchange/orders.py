"""Orders as request parameters, and answers to them as outcomes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from services.exec_risk.core.exchange_events import (
    Accepted,
    OrderReport,
    Refused,
    RequestOutcome,
    Unknown,
)
from services.exec_risk.exchange import parse
from services.trade.order import (
    Order,
    OrderPurpose,
    OrderState,
    OrderType,
    Side,
    TimeInForce,
)
from services.trade.position import PositionSide

WORKING_TYPE = "MARK_PRICE"
"""Stops follow the mark price, so that one odd trade does not fire them. On the paper venue the
price of the path is the mark price too."""


def is_conditional(order: Order) -> bool:
    """Return True for orders that go to algoOrder."""
    return order.type.conditional


def place_params(order: Order, *, hedge: bool = False) -> dict[str, str | int | bool]:
    """Return the parameters of an order (incident 32).

    In one-way mode there is never a positionSide, and exits are reduce-only. In hedge mode an
    exit names the side that it closes: without that its SELL would open a SHORT beside the LONG;
    reduceOnly is not taken there, since closing is all that such an order can do.
    ValueError when the order lacks the price that its type needs.
    """
    params: dict[str, str | int | bool] = {
        "symbol": order.symbol,
        "side": order.side.value,
        "type": order.type.value,
        "quantity": plain(order.quantity),
    }
    if hedge:
        params["positionSide"] = _held_side(order).value
    elif order.reduce_only:
        params["reduceOnly"] = "true"
    if is_conditional(order):
        return params | {
            "algoType": "CONDITIONAL",
            "clientAlgoId": order.client_order_id,
            "triggerPrice": plain(_needed(order, order.trigger_price)),
            "workingType": WORKING_TYPE,
        }
    params |= {"newClientOrderId": order.client_order_id, "newOrderRespType": "RESULT"}
    if order.type is OrderType.LIMIT:
        kept = order.time_in_force or TimeInForce.GTC
        params |= {"price": plain(_needed(order, order.price)), "timeInForce": kept.value}
    return params


def cancel_params(order: Order, *, conditional: bool) -> dict[str, str | int | bool]:
    """Return the parameters of a cancel by client order id."""
    if conditional:
        return {"symbol": order.symbol, "clientAlgoId": order.client_order_id}
    return {"symbol": order.symbol, "origClientOrderId": order.client_order_id}


def find_params(order: Order, conditional: bool) -> dict[str, str]:
    """Return the parameters of a question by client order id."""
    if conditional:
        return {"symbol": order.symbol, "clientAlgoId": order.client_order_id}
    return {"symbol": order.symbol, "origClientOrderId": order.client_order_id}


def placed(
    order: Order, answer: Mapping[str, Any] | Refused | Unknown, *, canceled: bool = False
) -> RequestOutcome:
    """Return the outcome of an answer. Only one with the exchange's id is an acceptance."""
    if isinstance(answer, Refused | Unknown):
        return answer
    try:
        if answer.get("orderId"):
            return _own(order, parse.order_report(answer))
        if answer.get("algoStatus"):
            return _own(order, parse.algo_report(answer))
        if answer.get("algoId") and canceled:
            return _own(order, _canceled_algo(order, answer))
    except (ValueError, KeyError) as error:
        return Unknown(reason=f"the answer makes no sense: {error}")
    return Unknown(reason="the answer carries no order id")


def reported(algo: Mapping[str, Any] | None, plain: Mapping[str, Any] | None) -> OrderReport | None:
    """Return what is known of an order from its conditional form and its plain (child) form.

    The child's fills are the truth; it may be absent for a moment while the trigger is at work.
    """
    if plain is not None:
        child = parse.order_report(plain)
        if algo is None:
            return child
        parent = parse.algo_report(algo)
        return replace(child, conditional=True, trigger_price=parent.trigger_price)
    return parse.algo_report(algo) if algo is not None else None


def plain(number: Decimal) -> str:
    """Return a decimal without exponent or trailing zeros, as Binance takes it."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _held_side(order: Order) -> PositionSide:
    opens = order.purpose is OrderPurpose.ENTRY
    side = order.side if opens else order.side.opposite
    return PositionSide.LONG if side is Side.BUY else PositionSide.SHORT


def _needed(order: Order, price: Decimal | None) -> Decimal:
    if price is None:
        raise ValueError(f"{order.type} order {order.client_order_id} has no price")
    return price


def _own(order: Order, report: OrderReport) -> RequestOutcome:
    if report.client_order_id != order.client_order_id:
        return Unknown(reason=f"the answer is for {report.client_order_id}")
    return Accepted(report)


def _canceled_algo(order: Order, answer: Mapping[str, Any]) -> OrderReport:
    """The cancel was taken; that it came before the trigger is told by the user stream alone."""
    if str(answer.get("code", "200")) != "200":
        raise ValueError(f"cancel answered {answer.get('code')}: {answer.get('msg')}")
    return OrderReport(
        client_order_id=str(answer.get("clientAlgoId") or order.client_order_id),
        exchange_order_id=str(answer["algoId"]),
        symbol=order.symbol,
        side=order.side,
        state=OrderState.ACCEPTED,
        quantity=order.quantity,
        filled_quantity=order.filled_quantity,
        average_price=order.average_price,
        time=order.updated_time,
        reduce_only=order.reduce_only,
        conditional=True,
        trigger_price=order.trigger_price,
    )
