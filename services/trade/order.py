"""Orders and fills as values, and the legal steps of an order's life."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Side(StrEnum):
    """Direction of an order."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        """The other side."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    """Kind of an order on the exchange."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"

    @property
    def conditional(self) -> bool:
        """True for kinds that wait for a trigger price."""
        return self in (OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET)


class TimeInForce(StrEnum):
    """How long a limit order may rest."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"
    """Post-only: refused when it would take."""


class OrderPurpose(StrEnum):
    """Why an order exists."""

    ENTRY = "ENTRY"
    STOP_LOSS = "STOP_LOSS"
    TAKE_PROFIT = "TAKE_PROFIT"
    EXIT = "EXIT"


class OrderState(StrEnum):
    """Step in the life of an order."""

    INTENT = "INTENT"
    SUBMITTED = "SUBMITTED"
    ACCEPTED = "ACCEPTED"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    UNKNOWN = "UNKNOWN"

    @property
    def final(self) -> bool:
        """True when no further state follows. A late fill is applied even then."""
        return self in FINAL_STATES


FINAL_STATES = frozenset(
    {OrderState.FILLED, OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED}
)


@dataclass(frozen=True, slots=True)
class Order:
    """One order of an account. Times are market time; quantities in the base asset."""

    client_order_id: str
    account: str
    symbol: str
    side: Side
    type: OrderType
    purpose: OrderPurpose
    quantity: Decimal
    decided_time: int
    state: OrderState = OrderState.INTENT
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    filled_quantity: Decimal = Decimal(0)
    filled_cost: Decimal = Decimal(0)
    """Sum of price times quantity over the fills."""
    exchange_order_id: str = ""
    signal_id: str = ""
    position_id: str = ""
    updated_time: int = 0
    reason: str = ""
    version: int = 1
    time_in_force: TimeInForce | None = None
    """Only for LIMIT."""
    execution_id: str = ""
    """Execution that it belongs to; empty when none."""

    @property
    def reduce_only(self) -> bool:
        """True for every order but an entry."""
        return self.purpose is not OrderPurpose.ENTRY

    @property
    def average_price(self) -> Decimal | None:
        """Average fill price; None before the first fill."""
        return self.filled_cost / self.filled_quantity if self.filled_quantity else None

    @property
    def remaining(self) -> Decimal:
        """Quantity that is not filled yet."""
        return self.quantity - self.filled_quantity


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of an order; it applies once by (symbol, trade id)."""

    trade_id: str
    account: str
    symbol: str
    client_order_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    commission: Decimal
    realized_pnl: Decimal
    maker: bool
    time: int
    exchange_order_id: str = ""
