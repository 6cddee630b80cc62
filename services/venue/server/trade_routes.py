"""Orders: placing, amending, cancelling, asking."""

from __future__ import annotations

from services.venue.core import rejections
from services.venue.core.orders import VenueOrder
from services.venue.exchange import PaperExchange
from services.venue.server.calls import Call, Json, Route, Routes, Security, span_of
from services.venue.server.formats import conditional_json, order_json, trade_json
from services.venue.server.order_requests import amendment, conditional, ids, plain


class TradeRoutes:
    """The endpoints of orders and trades."""

    def __init__(self, exchange: PaperExchange) -> None:
        self._exchange = exchange

    def table(self) -> Routes:
        """Return the routes."""
        signed = Security.SIGNED
        v1 = "/fapi/v1"
        return {
            ("POST", f"{v1}/order"): Route(self.place, signed, 0, orders=1),
            ("PUT", f"{v1}/order"): Route(self.amend, signed, 1, orders=1),
            ("GET", f"{v1}/order"): Route(self.order, signed),
            ("DELETE", f"{v1}/order"): Route(self.cancel, signed),
            ("GET", f"{v1}/openOrders"): Route(self.open_orders, signed, _open_weight),
            ("GET", f"{v1}/openOrder"): Route(self.order, signed),
            ("GET", f"{v1}/allOrders"): Route(self.all_orders, signed, 5),
            ("POST", f"{v1}/algoOrder"): Route(self.place_algo, signed, 1, orders=1),
            ("GET", f"{v1}/algoOrder"): Route(self.algo, signed),
            ("DELETE", f"{v1}/algoOrder"): Route(self.cancel_algo, signed),
            ("GET", f"{v1}/openAlgoOrders"): Route(self.open_algos, signed, _open_weight),
            ("GET", f"{v1}/allAlgoOrders"): Route(self.all_algos, signed, 5),
            ("GET", f"{v1}/userTrades"): Route(self.trades, signed, 5),
        }

    def place(self, call: Call) -> Json:
        """POST order: answers NEW; fills come with the next step."""
        return order_json(self._exchange.place(plain(call, self._exchange.number)))

    def amend(self, call: Call) -> Json:
        """PUT order: answers the order as it will stand; AMENDMENT comes with the next step."""
        return order_json(self._exchange.amend(amendment(call)))

    def order(self, call: Call) -> Json:
        """GET order: open or ended."""
        found = self._find(call)
        if found is None:
            raise rejections.unknown_order()
        return order_json(found)

    def cancel(self, call: Call) -> Json:
        """DELETE order: answers the order as it stands; CANCELED comes with the next step."""
        order_id, client_id = ids(call, "orderId", "origClientOrderId")
        symbol = call.text("symbol")
        return order_json(self._exchange.cancel(symbol, order_id=order_id, client_id=client_id))

    def open_orders(self, call: Call) -> Json:
        """GET openOrders of a symbol or of all."""
        return [order_json(order) for order in self._open(call.parameters.get("symbol"))]

    def all_orders(self, call: Call) -> Json:
        """GET allOrders: ended and open ones, oldest first."""
        symbol = self._symbol(call)
        span = span_of(call, 500)
        ended = self._exchange.journal.orders(symbol, span)
        alive = [o for o in self._open(symbol) if span.since <= o.decided_time <= span.until]
        found = [*ended, *alive]
        chosen = found[-span.limit :] if span.newest else found[: span.limit]
        return [order_json(order) for order in chosen]

    def place_algo(self, call: Call) -> Json:
        """POST algoOrder: a conditional order."""
        asked = conditional(call, self._exchange.number)
        return conditional_json(self._exchange.place_conditional(asked))

    def algo(self, call: Call) -> Json:
        """GET algoOrder: open or ended."""
        algo_id, client_id = ids(call, "algoId", "clientAlgoId")
        found = self._exchange.engine.state.book.find_conditional(
            algo_id, client_id
        ) or self._exchange.journal.conditional(algo_id=algo_id, client_id=client_id)
        if found is None:
            raise rejections.unknown_order()
        return conditional_json(found)

    def cancel_algo(self, call: Call) -> Json:
        """DELETE algoOrder."""
        algo_id, client_id = ids(call, "algoId", "clientAlgoId")
        order = self._exchange.cancel_conditional(algo_id=algo_id, client_id=client_id)
        return {
            "algoId": order.algo_id,
            "clientAlgoId": order.client_id,
            "code": "200",
            "msg": "success",
        }

    def open_algos(self, call: Call) -> Json:
        """GET openAlgoOrders of a symbol or of all."""
        symbol = call.parameters.get("symbol")
        found = [
            order
            for order in self._exchange.engine.state.book.waiting()
            if symbol in (None, order.symbol)
        ]
        found.sort(key=lambda order: (order.decided_time, order.client_id))
        return [conditional_json(order) for order in found]

    def all_algos(self, call: Call) -> Json:
        """GET allAlgoOrders of a symbol: ended and open ones."""
        symbol = self._symbol(call)
        ended = self._exchange.journal.conditionals(symbol, call.limit(500, 1000))
        book = self._exchange.engine.state.book
        alive = [order for order in book.conditionals.values() if order.symbol == symbol]
        return [conditional_json(order) for order in [*ended, *alive]]

    def trades(self, call: Call) -> Json:
        """GET userTrades of a symbol, oldest first."""
        found = self._exchange.journal.trades(
            self._symbol(call),
            span_of(call, 500),
            order_id=call.integer("orderId", 0),
            first=call.integer("fromId", 0),
        )
        if found is None:
            raise rejections.invalid_parameter("fromId")
        return [trade_json(trade) for trade in found]

    def _symbol(self, call: Call) -> str:
        symbol = call.text("symbol")
        self._exchange.engine.rules_of(symbol)
        return symbol

    def _open(self, symbol: str | None) -> list[VenueOrder]:
        if symbol is not None:
            self._exchange.engine.rules_of(symbol)
        orders = self._exchange.engine.state.book.orders.values()
        found = [order for order in orders if symbol in (None, order.symbol)]
        return sorted(found, key=lambda order: (order.decided_time, order.client_id))

    def _find(self, call: Call) -> VenueOrder | None:
        order_id, client_id = ids(call, "orderId", "origClientOrderId")
        symbol = self._symbol(call)
        alive = self._exchange.engine.state.book.find(symbol, order_id, client_id)
        return alive or self._exchange.journal.order(symbol, order_id=order_id, client_id=client_id)


def _open_weight(call: Call) -> int:
    return 1 if "symbol" in call.parameters else 40
