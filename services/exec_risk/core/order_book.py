"""Orders by client order id, with those that still live at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping

from services.trade.order import Order


class Orders(MutableMapping[str, Order]):
    """All orders of late. A day has thousands that are final, a decision asks for the few others.

    Both orders of iteration are those in which the orders were made.
    """

    def __init__(self, orders: Mapping[str, Order] | None = None) -> None:
        self._all: dict[str, Order] = {}
        self._live: dict[str, Order] = {}
        self.revision = 0
        """How often an order was put or removed: who saw this number saw these orders."""
        self.update(orders or {})

    @property
    def live(self) -> list[Order]:
        """Orders that are not final."""
        return list(self._live.values())

    def since(self, time: int) -> Iterator[Order]:
        """Yield the orders that were decided at a market time or later, the newest first."""
        for order in reversed(self._all.values()):
            if order.decided_time < time:
                return
            yield order

    def __getitem__(self, client_order_id: str) -> Order:
        return self._all[client_order_id]

    def __setitem__(self, client_order_id: str, order: Order) -> None:
        self.revision += 1
        self._all[client_order_id] = order
        if order.state.final:
            self._live.pop(client_order_id, None)
        else:
            self._live[client_order_id] = order

    def __delitem__(self, client_order_id: str) -> None:
        self.revision += 1
        del self._all[client_order_id]
        self._live.pop(client_order_id, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)
