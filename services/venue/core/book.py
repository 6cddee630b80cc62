"""The open orders of the venue, and the ways to find one."""

from __future__ import annotations

from collections.abc import Iterator

from services.venue.core.orders import AlgoStatus, Conditional, VenueOrder


class Book:
    """Open plain and conditional orders. A final one is not here any more."""

    def __init__(self) -> None:
        self.orders: dict[int, VenueOrder] = {}
        self.conditionals: dict[int, Conditional] = {}

    def put(self, order: VenueOrder) -> None:
        """Store an order, or drop it when its status is final."""
        if order.status.open:
            self.orders[order.order_id] = order
        else:
            self.orders.pop(order.order_id, None)

    def put_conditional(self, order: Conditional) -> None:
        """Store a conditional order, or drop it when its status is final."""
        if order.status in (AlgoStatus.NEW, AlgoStatus.TRIGGERING, AlgoStatus.TRIGGERED):
            self.conditionals[order.algo_id] = order
        else:
            self.conditionals.pop(order.algo_id, None)

    def find(self, symbol: str, order_id: int = 0, client_id: str = "") -> VenueOrder | None:
        """Return the open order with this id, or else this client id."""
        if order_id:
            found = self.orders.get(order_id)
            return found if found and found.symbol == symbol else None
        for order in self.orders.values():
            if order.client_id == client_id and order.symbol == symbol:
                return order
        return None

    def find_conditional(self, algo_id: int = 0, client_id: str = "") -> Conditional | None:
        """Return the open conditional order with this id, or else this client id."""
        if algo_id:
            return self.conditionals.get(algo_id)
        for order in self.conditionals.values():
            if order.client_id == client_id:
                return order
        return None

    def client_id_open(self, client_id: str) -> bool:
        """Tell whether an open plain order has this client id."""
        return any(order.client_id == client_id for order in self.orders.values())

    def of_symbol(self, symbol: str, *, effective: bool = True) -> list[VenueOrder]:
        """Return a symbol's open orders by priority; by default only those on the book."""
        found = [
            order
            for order in self.orders.values()
            if order.symbol == symbol and (order.effect_step > 0) is effective
        ]
        return sorted(found, key=lambda order: order.priority)

    def conditionals_of(self, symbol: str, *, effective: bool = True) -> list[Conditional]:
        """Return a symbol's waiting conditional orders by priority."""
        found = [
            order
            for order in self.conditionals.values()
            if order.symbol == symbol
            and order.status is AlgoStatus.NEW
            and (order.effect_step > 0) is effective
        ]
        return sorted(found, key=lambda order: order.priority)

    def waiting(self) -> Iterator[Conditional]:
        """Yield the conditional orders that have not fired."""
        return (c for c in self.conditionals.values() if c.status is AlgoStatus.NEW)
