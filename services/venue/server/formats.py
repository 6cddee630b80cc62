"""Orders and trades in Binance's JSON, for REST and for the user stream."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from services.venue.core.account import ZERO
from services.venue.core.events import (
    AccountEvent,
    ConditionalEvent,
    OrderEvent,
    VenueEvent,
)
from services.venue.core.orders import Conditional, Trade, VenueOrder

_AVERAGE = Decimal("0.00000001")
ASSET = "USDT"


def number(value: Decimal | None) -> str:
    """Return a decimal as plain digits; zero for None."""
    return f"{value:f}" if value else "0"


def average(value: Decimal) -> str:
    """Return an average price, rounded to 8 decimals."""
    return number(value.quantize(_AVERAGE)) if value else "0"


def order_json(order: VenueOrder) -> dict[str, Any]:
    """Return an order as REST answers it."""
    return {
        "orderId": order.order_id,
        "symbol": order.symbol,
        "status": order.status.value,
        "clientOrderId": order.client_id,
        "price": number(order.price),
        "avgPrice": average(_average(order)),
        "origQty": number(order.quantity),
        "executedQty": number(order.executed),
        "cumQty": number(order.executed),
        "cumQuote": number(order.cost),
        "timeInForce": order.time_in_force.value,
        "type": order.type.value,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side.value,
        "positionSide": order.position_side.value,
        "stopPrice": number(order.stop_price),
        "workingType": "CONTRACT_PRICE",
        "priceMatch": "NONE",
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "goodTillDate": 0,
        "priceProtect": False,
        "origType": order.original_type.value,
        "time": order.decided_time,
        "updateTime": order.update_time,
    }


def conditional_json(order: Conditional) -> dict[str, Any]:
    """Return a conditional order as REST answers it."""
    return {
        "algoId": order.algo_id,
        "clientAlgoId": order.client_id,
        "algoType": "CONDITIONAL",
        "orderType": order.type.value,
        "symbol": order.symbol,
        "side": order.side.value,
        "positionSide": order.position_side.value,
        "timeInForce": order.time_in_force.value,
        "quantity": number(order.quantity),
        "algoStatus": order.status.value,
        "triggerPrice": number(order.trigger_price),
        "price": number(order.price),
        "icebergQuantity": None,
        "selfTradePreventionMode": "EXPIRE_MAKER",
        "workingType": order.working_type,
        "priceMatch": "NONE",
        "closePosition": order.close_position,
        "priceProtect": order.price_protect,
        "reduceOnly": order.reduce_only,
        "callbackRate": number(order.callback_rate) if order.callback_rate else None,
        "activatePrice": number(order.activation_price) if order.activation_price else None,
        "actualOrderId": str(order.order_id) if order.order_id else "",
        "actualPrice": average(order.average_price),
        "actualQty": number(order.executed),
        "createTime": order.decided_time,
        "updateTime": order.update_time,
        "triggerTime": order.trigger_time,
        "goodTillDate": 0,
    }


def trade_json(trade: Trade) -> dict[str, Any]:
    """Return a trade as userTrades answers it."""
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "side": trade.side.value,
        "price": number(trade.price),
        "qty": number(trade.quantity),
        "realizedPnl": number(trade.realized),
        "quoteQty": number(trade.price * trade.quantity),
        "commission": number(trade.commission),
        "commissionAsset": ASSET,
        "time": trade.time,
        "positionSide": trade.position_side.value,
        "buyer": trade.side.sign > 0,
        "maker": trade.maker,
        "marginAsset": ASSET,
    }


def user_event(event: VenueEvent, step: int) -> dict[str, Any] | None:
    """Return an event as the user stream tells it; None for what it does not tell."""
    if isinstance(event, OrderEvent):
        body = {"e": "ORDER_TRADE_UPDATE", "o": _order_update(event)}
    elif isinstance(event, ConditionalEvent):
        body = {"e": "ALGO_UPDATE", "o": _algo_update(event.order)}
    elif isinstance(event, AccountEvent):
        body = {"e": "ACCOUNT_UPDATE", "a": _account_update(event)}
    else:
        return None
    return {**body, "E": event.time, "T": event.time, "pn": step}


def _average(order: VenueOrder) -> Decimal:
    return order.cost / order.executed if order.executed else ZERO


def _order_update(event: OrderEvent) -> dict[str, Any]:
    order, trade = event.order, event.trade
    return {
        "s": order.symbol,
        "c": order.client_id,
        "S": order.side.value,
        "o": "LIQUIDATION" if order.liquidation else order.type.value,
        "f": order.time_in_force.value,
        "q": number(order.quantity),
        "p": number(order.price),
        "ap": average(_average(order)),
        "sp": number(order.stop_price),
        "x": event.execution,
        "X": order.status.value,
        "i": order.order_id,
        "l": number(trade.quantity if trade else None),
        "z": number(order.executed),
        "L": number(trade.price if trade else None),
        "N": ASSET,
        "n": number(trade.commission if trade else None),
        "T": event.time,
        "t": trade.trade_id if trade else 0,
        "b": "0",
        "a": "0",
        "m": trade.maker if trade else False,
        "R": order.reduce_only,
        "wt": "CONTRACT_PRICE",
        "ot": order.original_type.value,
        "ps": order.position_side.value,
        "cp": order.close_position,
        "rp": number(trade.realized if trade else None),
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": "EXPIRE_MAKER",
        "pm": "NONE",
        "gtd": 0,
        "er": event.reason,
    }


def _algo_update(order: Conditional) -> dict[str, Any]:
    return {
        "caid": order.client_id,
        "aid": order.algo_id,
        "at": "CONDITIONAL",
        "o": order.type.value,
        "s": order.symbol,
        "S": order.side.value,
        "ps": order.position_side.value,
        "f": order.time_in_force.value,
        "q": number(order.quantity),
        "X": order.status.value,
        "ai": str(order.order_id) if order.order_id else "",
        "ap": average(order.average_price),
        "aq": number(order.executed),
        "act": _child_type(order) if order.order_id else "",
        "tp": number(order.trigger_price),
        "p": number(order.price),
        "V": "EXPIRE_MAKER",
        "wt": order.working_type,
        "pm": "NONE",
        "cp": order.close_position,
        "pP": order.price_protect,
        "R": order.reduce_only,
        "tt": order.trigger_time,
        "gtd": 0,
        "rm": order.reason,
        **_trailing(order),
    }


def _trailing(order: Conditional) -> dict[str, str]:
    if order.callback_rate is None:
        return {}
    return {"AP": number(order.activation_price), "cr": number(order.callback_rate)}


def _child_type(order: Conditional) -> str:
    return "LIMIT" if order.type.limited else "MARKET"


def _account_update(event: AccountEvent) -> dict[str, Any]:
    wallet = number(event.wallet)
    body: dict[str, Any] = {
        "m": event.reason,
        "B": [{"a": ASSET, "wb": wallet, "cw": wallet, "bc": number(event.change)}],
        "P": [],
    }
    if event.holding is not None:
        held = event.holding
        entry = average(held.entry_price)
        body["P"].append(
            {
                "s": held.symbol,
                "pa": number(held.quantity),
                "ep": entry,
                "bep": entry,
                "cr": number(held.realized),
                "up": number(held.unrealized(event.mark)) if held.quantity else "0",
                "mt": "cross",
                "iw": "0",
                "ps": held.position_side.value,
                "ma": ASSET,
            }
        )
    return body
