"""Orders by client order id, with those that still live, and those of a position, at hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, ValuesView

from services.exec_risk.core.counted import Counted
from services.trade.order import Order

_NONE: dict[str, Order] = {}


class Orders(Counted[str, Order]):
    """All orders of late. A day has thousands that are final, a decision asks for the few others.

    Every order of iteration is the one in which the orders were made.
    """

    def __init__(self, orders: Mapping[str, Order] | None = None) -> None:
        self._live: dict[str, Order] = {}
        self._entries: dict[str, Order] = {}
        self._of: dict[str, dict[str, Order]] = {}
        super().__init__(orders)

    @property
    def live(self) -> list[Order]:
        """Orders that are not final."""
        return list(self._live.values())

    @property
    def entries(self) -> list[Order]:
        """Those of the live orders that may make a position larger."""
        return list(self._entries.values())

    def of(self, position_id: str) -> ValuesView[Order]:
        """Return all orders of a position."""
        return self._of.get(position_id, _NONE).values()

    def since(self, time: int) -> Iterator[Order]:
        """Yield the orders that were decided at a market time or later, the newest first."""
        for order in reversed(self.values()):
            if order.decided_time < time:
                return
            yield order

    def __setitem__(self, client_order_id: str, order: Order) -> None:
        known = self.get(client_order_id)
        if known is not None and known.position_id != order.position_id:
            self._unlink(known)
        super().__setitem__(client_order_id, order)
        self._of.setdefault(order.position_id, {})[client_order_id] = order
        if order.state.final:
            self._live.pop(client_order_id, None)
            self._entries.pop(client_order_id, None)
            return
        self._live[client_order_id] = order
        if not order.reduce_only:
            self._entries[client_order_id] = order

    def __delitem__(self, client_order_id: str) -> None:
        order = self[client_order_id]
        super().__delitem__(client_order_id)
        self._live.pop(client_order_id, None)
        self._entries.pop(client_order_id, None)
        self._unlink(order)

    def _unlink(self, order: Order) -> None:
        siblings = self._of[order.position_id]
        del siblings[order.client_order_id]
        if not siblings:
            del self._of[order.position_id]
