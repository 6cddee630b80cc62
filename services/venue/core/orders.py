"""Orders as the venue keeps them. Times are market time, quantities base, prices quote asset."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from services.trade.order import OrderType, Side


class TimeInForce(StrEnum):
    """How long an order rests."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"


class Status(StrEnum):
    """State of a plain order."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"

    @property
    def open(self) -> bool:
        """True while the order can still fill."""
        return self in (Status.NEW, Status.PARTIALLY_FILLED)


class AlgoStatus(StrEnum):
    """State of a conditional order."""

    NEW = "NEW"
    TRIGGERING = "TRIGGERING"
    TRIGGERED = "TRIGGERED"
    FINISHED = "FINISHED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A plain order as it is asked for."""

    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    client_id: str
    price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False


@dataclass(frozen=True, slots=True)
class ConditionalRequest:
    """A conditional order as it is asked for; without quantity it closes the position."""

    symbol: str
    side: Side
    type: OrderType
    trigger_price: Decimal
    client_id: str
    quantity: Decimal | None = None
    reduce_only: bool = False
    close_position: bool = False
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """A plain order, or the child of a conditional one that fired."""

    order_id: int
    client_id: str
    symbol: str
    side: Side
    type: OrderType
    original_type: OrderType
    quantity: Decimal
    time_in_force: TimeInForce
    reduce_only: bool
    close_position: bool
    decided_time: int
    price: Decimal | None = None
    stop_price: Decimal | None = None
    algo_id: int = 0
    liquidation: bool = False
    effect_step: int = 0
    """Step at which it came to the book; 0 while it is on its way."""
    status: Status = Status.NEW
    executed: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    """Sum of price times quantity over its fills."""
    update_time: int = 0
    cancel_from: int = -1
    """Market time from which a requested cancel takes effect; -1 without one."""

    @property
    def remaining(self) -> Decimal:
        """Quantity that is not filled."""
        return self.quantity - self.executed

    @property
    def priority(self) -> tuple[int, str]:
        """Place among orders at the same price."""
        return (self.effect_step, self.client_id)


@dataclass(frozen=True, slots=True)
class Conditional:
    """A conditional (algo) order."""

    algo_id: int
    client_id: str
    symbol: str
    side: Side
    type: OrderType
    trigger_price: Decimal
    quantity: Decimal
    """Zero when it closes the whole position."""
    reduce_only: bool
    close_position: bool
    working_type: str
    price_protect: bool
    decided_time: int
    effect_step: int = 0
    status: AlgoStatus = AlgoStatus.NEW
    update_time: int = 0
    trigger_time: int = 0
    order_id: int = 0
    average_price: Decimal = Decimal(0)
    executed: Decimal = Decimal(0)
    reason: str = ""
    cancel_from: int = -1

    @property
    def priority(self) -> tuple[int, str]:
        """Place among orders at the same price."""
        return (self.effect_step, self.client_id)

    @property
    def fires_upward(self) -> bool:
        """True when a rising price triggers it."""
        return (self.side is Side.BUY) == (self.type is OrderType.STOP_MARKET)

    def reached(self, price: Decimal) -> bool:
        """Tell whether a price triggers it."""
        if self.fires_upward:
            return price >= self.trigger_price
        return price <= self.trigger_price


@dataclass(frozen=True, slots=True)
class Trade:
    """One execution of an order."""

    trade_id: int
    order_id: int
    client_id: str
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    commission: Decimal
    realized: Decimal
    maker: bool
    time: int
    step: int


@dataclass(frozen=True, slots=True)
class Income:
    """One change of the wallet: REALIZED_PNL, COMMISSION, FUNDING_FEE or INSURANCE_CLEAR."""

    income_id: int
    symbol: str
    type: str
    amount: Decimal
    time: int
    trade_id: int = 0
