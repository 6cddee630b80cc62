"""What an order is for and where it is, as others ask."""

from __future__ import annotations

from services.trade.order import Order, OrderPurpose, OrderState

LIVE_ON_EXCHANGE = (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED)
"""States in which the exchange surely holds the order."""


def is_protection(order: Order) -> bool:
    """Tell whether an order protects a position."""
    return order.purpose in (OrderPurpose.STOP_LOSS, OrderPurpose.TAKE_PROFIT)
