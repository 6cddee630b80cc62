"""The endpoints that are used: ccxt's name of each, and what it takes of the rate limits.

Weights are Binance's for USDT-M futures; an order takes no weight but an order count. Where the
weight depends on the parameters, the caller says it.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.exec_risk.exchange.limits import Cost


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method and path."""

    method: str
    """ccxt's implicit method."""
    cost: Cost
    signed: bool = True
    """True when its success proves that the key and its signature are accepted."""


def _public(method: str, weight: int = 1) -> Endpoint:
    return Endpoint(method, Cost(weight), signed=False)


def _signed(method: str, weight: int = 1) -> Endpoint:
    return Endpoint(method, Cost(weight))


TIME = _public("fapiPublicGetTime")
EXCHANGE_INFO = _public("fapiPublicGetExchangeInfo")
KLINES = _public("fapiPublicGetKlines", 5)
LISTEN_KEY_NEW = _public("fapiPrivatePostListenKey")
LISTEN_KEY_KEEP = _public("fapiPrivatePutListenKey")
ACCOUNT = _signed("fapiPrivateV3GetAccount", 5)
POSITION_RISK = _signed("fapiPrivateV3GetPositionRisk", 5)
LEVERAGE_BRACKETS = _signed("fapiPrivateGetLeverageBracket")
SYMBOL_CONFIG = _signed("fapiPrivateGetSymbolConfig", 5)
POSITION_MODE = _signed("fapiPrivateGetPositionSideDual", 30)
FEE_BURN = _signed("fapiPrivateGetFeeBurn", 30)
SET_LEVERAGE = _signed("fapiPrivatePostLeverage")
SET_MARGIN_TYPE = _signed("fapiPrivatePostMarginType")
OPEN_ORDERS = _signed("fapiPrivateGetOpenOrders", 40)
OPEN_ORDERS_OF_SYMBOL = _signed("fapiPrivateGetOpenOrders")
OPEN_ALGO_ORDERS = _signed("fapiPrivateGetOpenAlgoOrders", 40)
ALL_ORDERS = _signed("fapiPrivateGetAllOrders", 5)
USER_TRADES = _signed("fapiPrivateGetUserTrades", 5)
INCOME = _signed("fapiPrivateGetIncome", 30)
GET_ORDER = _signed("fapiPrivateGetOrder")
GET_ALGO_ORDER = _signed("fapiPrivateGetAlgoOrder")
CANCEL_ORDER = _signed("fapiPrivateDeleteOrder")
CANCEL_ALGO_ORDER = _signed("fapiPrivateDeleteAlgoOrder")
PLACE_ORDER = Endpoint("fapiPrivatePostOrder", Cost(weight=0, orders=1))
PLACE_ALGO_ORDER = Endpoint("fapiPrivatePostAlgoOrder", Cost(weight=1, orders=1))


def klines_cost(rows: int) -> Cost:
    """Return the cost of reading so many candles at once."""
    return Cost(next((w for below, w in ((100, 1), (500, 2), (1_001, 5)) if rows < below), 10))
