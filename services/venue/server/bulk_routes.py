"""Many orders at once: batches, cancelling all, and the countdown that cancels by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from services.venue.core import rejections
from services.venue.core.orders import VenueOrder
from services.venue.core.rejections import Rejection
from services.venue.exchange import PaperExchange
from services.venue.server import order_requests
from services.venue.server.calls import Call, Json, Route, Routes, Security
from services.venue.server.formats import order_json

_T = TypeVar("_T")
_CANCELLED_ALL = {"code": 200, "msg": "The operation of cancel all open order is done."}
_MOST = 5
_MOST_CANCELS = 10


class BulkRoutes:
    """The endpoints that touch several orders; each order has its own result."""

    def __init__(self, exchange: PaperExchange) -> None:
        self._exchange = exchange

    def table(self) -> Routes:
        """Return the routes."""
        signed, v1 = Security.SIGNED, "/fapi/v1"
        batch = f"{v1}/batchOrders"
        return {
            ("POST", batch): Route(self.place, signed, 5, orders=_count),
            ("PUT", batch): Route(self.amend, signed, 5, orders=_count),
            ("DELETE", batch): Route(self.cancel, signed),
            ("DELETE", f"{v1}/allOpenOrders"): Route(self.cancel_all, signed),
            ("DELETE", f"{v1}/algoOpenOrders"): Route(self.cancel_all_algos, signed),
            ("POST", f"{v1}/countdownCancelAll"): Route(self.count_down, signed, 10),
        }

    def place(self, call: Call) -> Json:
        """POST batchOrders: up to five plain orders."""
        step = self._exchange.number
        return _each(
            _batch(call), lambda one: self._exchange.place(order_requests.plain(one, step))
        )

    def amend(self, call: Call) -> Json:
        """PUT batchOrders: up to five amendments."""
        return _each(_batch(call), lambda one: self._exchange.amend(order_requests.amendment(one)))

    def cancel(self, call: Call) -> Json:
        """DELETE batchOrders by orderIdList or origClientOrderIdList, up to ten."""
        symbol = self._symbol(call)
        numbers = _listed(call, "orderIdList", int)
        names = [] if numbers else _listed(call, "origClientOrderIdList", str)
        if not 0 < len(numbers) + len(names) <= _MOST_CANCELS:
            raise rejections.mandatory("orderIdList")
        if numbers:
            return _each(numbers, lambda one: self._exchange.cancel(symbol, order_id=one))
        return _each(names, lambda one: self._exchange.cancel(symbol, client_id=one))

    def cancel_all(self, call: Call) -> Json:
        """DELETE allOpenOrders of a symbol; conditional orders stay."""
        symbol = self._symbol(call)
        for order in sorted(
            self._exchange.engine.state.book.orders.values(), key=lambda one: one.client_id
        ):
            if order.symbol == symbol:
                self._exchange.cancel(symbol, order_id=order.order_id)
        return _CANCELLED_ALL

    def cancel_all_algos(self, call: Call) -> Json:
        """DELETE algoOpenOrders of a symbol."""
        symbol = self._symbol(call)
        for order in list(self._exchange.engine.state.book.waiting()):
            if order.symbol == symbol:
                self._exchange.cancel_conditional(algo_id=order.algo_id)
        return _CANCELLED_ALL

    def count_down(self, call: Call) -> Json:
        """POST countdownCancelAll: market time after which a symbol's orders end; 0 stops it."""
        symbol, milliseconds = self._symbol(call), call.integer("countdownTime")
        if milliseconds < 0:
            raise rejections.mandatory("countdownTime")
        self._exchange.set_countdown(symbol, milliseconds)
        return {"symbol": symbol, "countdownTime": str(milliseconds)}

    def _symbol(self, call: Call) -> str:
        symbol = call.text("symbol")
        self._exchange.engine.rules_of(symbol)
        return symbol


def _each(given: Iterable[_T], act: Callable[[_T], VenueOrder]) -> list[dict[str, Any]]:
    """Do each by itself: one that is refused does not hold up the others."""
    results = []
    for one in given:
        try:
            results.append(order_json(act(one)))
        except Rejection as refused:
            results.append({"code": refused.code, "msg": refused.message})
    return results


def _batch(call: Call) -> list[Call]:
    given = _json_list(call.text("batchOrders"), "batchOrders")
    if not 0 < len(given) <= _MOST or not all(isinstance(one, dict) for one in given):
        raise rejections.mandatory("batchOrders")
    return [Call({name: _text(value) for name, value in one.items()}) for one in given]


def _count(call: Call) -> int:
    try:
        return len(_batch(call))
    except Rejection:
        return 1


def _listed(call: Call, name: str, kind: type[Any]) -> list[Any]:
    text = call.parameters.get(name) or call.parameters.get(name.lower())
    if not text:
        return []
    try:
        return [kind(one) for one in _json_list(text, name)]
    except (TypeError, ValueError):
        raise rejections.mandatory(name) from None


def _json_list(text: str, name: str) -> list[Any]:
    try:
        found = json.loads(text)
    except ValueError:
        raise rejections.mandatory(name) from None
    if not isinstance(found, list):
        raise rejections.mandatory(name)
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
