"""Orders as the venue keeps them. Times are market time, quantities base, prices quote asset."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from services.trade.order import OrderType, Side, TimeInForce


class PositionSide(StrEnum):
    """Which position an order belongs to: BOTH in one-way mode, a leg in hedge mode."""

    BOTH = "BOTH"
    LONG = "LONG"
    SHORT = "SHORT"


class Kind(StrEnum):
    """Kind of an order as it was asked for."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"
    TRAILING_STOP_MARKET = "TRAILING_STOP_MARKET"

    @property
    def conditional(self) -> bool:
        """True for kinds that wait for a price."""
        return self not in (Kind.MARKET, Kind.LIMIT)

    @property
    def limited(self) -> bool:
        """True for conditional kinds that become a limit order."""
        return self in (Kind.STOP, Kind.TAKE_PROFIT)

    @property
    def stops(self) -> bool:
        """True for kinds that fire when the price turns against the position they close."""
        return self in (Kind.STOP, Kind.STOP_MARKET)


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
    position_side: PositionSide = PositionSide.BOTH


@dataclass(frozen=True, slots=True)
class AmendRequest:
    """A new price and quantity for a resting limit order; its ids stay."""

    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    order_id: int = 0
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class ConditionalRequest:
    """A conditional order as it is asked for; without quantity it closes the position.

    A trailing stop has no trigger price of its own (zero): `callback_rate` in percent follows the
    price from `activation_price` on, at once when that is not given.
    """

    symbol: str
    side: Side
    type: Kind | OrderType
    trigger_price: Decimal
    client_id: str
    quantity: Decimal | None = None
    reduce_only: bool = False
    close_position: bool = False
    working_type: str = "CONTRACT_PRICE"
    price_protect: bool = False
    position_side: PositionSide = PositionSide.BOTH
    price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    callback_rate: Decimal | None = None
    activation_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """A plain order, or the child of a conditional one that fired."""

    order_id: int
    client_id: str
    symbol: str
    side: Side
    type: OrderType
    original_type: Kind
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
    position_side: PositionSide = PositionSide.BOTH
    amended_price: Decimal | None = None
    amended_quantity: Decimal | None = None
    amend_from: int = -1
    """Market time from which a requested amendment takes effect; -1 without one."""

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
    type: Kind
    trigger_price: Decimal
    """Of a trailing stop: where it stands now, zero before it is activated."""
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
    position_side: PositionSide = PositionSide.BOTH
    price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    callback_rate: Decimal | None = None
    activation_price: Decimal | None = None
    best: Decimal | None = None
    """Best price for a trailing stop since its activation; None before."""

    @property
    def priority(self) -> tuple[int, str]:
        """Place among orders at the same price."""
        return (self.effect_step, self.client_id)

    @property
    def fires_upward(self) -> bool:
        """True when a rising price triggers it."""
        stops = self.type.stops or self.type is Kind.TRAILING_STOP_MARKET
        return (self.side is Side.BUY) == stops

    def reached(self, price: Decimal) -> bool:
        """Tell whether a price triggers it; never a trailing stop that is not activated."""
        if not self.trigger_price:
            return False
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
    position_side: PositionSide = PositionSide.BOTH


@dataclass(frozen=True, slots=True)
class Income:
    """One change of the wallet: REALIZED_PNL, COMMISSION, FUNDING_FEE or INSURANCE_CLEAR."""

    income_id: int
    symbol: str
    type: str
    amount: Decimal
    time: int
    trade_id: int = 0
