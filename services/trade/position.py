"""Positions as values, and how a fill changes one."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from services.trade.order import Fill, Side
from services.trade.values import with_values


class PositionSide(StrEnum):
    """Direction of a position."""

    LONG = "LONG"
    SHORT = "SHORT"

    @property
    def sign(self) -> int:
        """+1 for LONG, -1 for SHORT."""
        return 1 if self is PositionSide.LONG else -1

    @property
    def entry_side(self) -> Side:
        """Side of the orders that open it."""
        return Side.BUY if self is PositionSide.LONG else Side.SELL

    @property
    def exit_side(self) -> Side:
        """Side of the orders that close it."""
        return self.entry_side.opposite

    @staticmethod
    def opened_by(side: Side) -> PositionSide:
        """Direction of the position that an entry of this side opens."""
        return PositionSide.LONG if side is Side.BUY else PositionSide.SHORT


class ExitReason(StrEnum):
    """Why a position was closed."""

    TAKE_PROFIT = "TAKE_PROFIT"
    STOP_LOSS = "STOP_LOSS"
    TRAILING_STOP = "TRAILING_STOP"
    MANUAL = "MANUAL"
    SIGNAL_EXIT = "SIGNAL_EXIT"
    LIQUIDATION = "LIQUIDATION"
    TIMEOUT = "TIMEOUT"
    UNPROTECTED = "UNPROTECTED"
    EMERGENCY_STOP = "EMERGENCY_STOP"
    DIRECTIVE = "DIRECTIVE"


class TradingState(StrEnum):
    """The account's own switch. Exits pass in every state."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"


class SafetyLevel(StrEnum):
    """How careful an account is, the least careful first."""

    NORMAL = "NORMAL"
    CAUTIOUS = "CAUTIOUS"
    DEFENSIVE = "DEFENSIVE"
    EMERGENCY = "EMERGENCY"


@dataclass(frozen=True, slots=True)
class Position:
    """One position of an account, open or closed. Amounts in the quote asset."""

    position_id: str
    account: str
    symbol: str
    side: PositionSide
    opened_time: int
    leverage: int
    signal_id: str = ""
    trace_id: str = ""
    entry_confidence: float = 0.0
    entry_model: str = ""
    in_sample: bool = False
    entry_quantity: Decimal = Decimal(0)
    """Sum of the entry fills' quantities."""
    entry_cost: Decimal = Decimal(0)
    """Sum of price times quantity over the entry fills."""
    exit_quantity: Decimal = Decimal(0)
    exit_cost: Decimal = Decimal(0)
    commission: Decimal = Decimal(0)
    funding: Decimal = Decimal(0)
    """Funding received, negative when paid."""
    stop_loss_price: Decimal | None = None
    take_profit_price: Decimal | None = None
    closed_time: int | None = None
    exit_reason: ExitReason | None = None
    version: int = 1

    @property
    def quantity(self) -> Decimal:
        """Quantity still held, never negative."""
        return self.entry_quantity - self.exit_quantity

    @property
    def open(self) -> bool:
        """True until the last fill."""
        return self.closed_time is None

    @property
    def entry_price(self) -> Decimal | None:
        """Average entry price; None before the first fill."""
        return self.entry_cost / self.entry_quantity if self.entry_quantity else None

    @property
    def exit_price(self) -> Decimal | None:
        """Average exit price; None before the first exit fill."""
        return self.exit_cost / self.exit_quantity if self.exit_quantity else None

    @property
    def realized_pnl(self) -> Decimal:
        """Profit of the closed part before commission and funding, exact.

        See `realized_of`.
        """
        return realized_of(
            self.side, self.entry_quantity, self.entry_cost, self.exit_quantity, self.exit_cost
        )

    @property
    def net_pnl(self) -> Decimal:
        """Realised profit after commission and funding."""
        return self.realized_pnl - self.commission + self.funding

    def unrealized_pnl(self, mark: Decimal) -> Decimal:
        """Profit of the held part at the mark price, before commission."""
        if not self.quantity:
            return Decimal(0)
        assert self.entry_price is not None  # noqa: S101 - a held quantity has entry fills
        return (mark - self.entry_price) * self.quantity * self.side.sign

    def notional(self, mark: Decimal) -> Decimal:
        """Absolute value of the held part at the mark price."""
        return mark * self.quantity

    def with_fill(self, fill: Fill) -> Position:
        """Return the position after a fill.

        ValueError when an exit fill is larger than what is held: a reduce-only order cannot do
        that, so the caller must reconcile with the exchange.
        """
        commission, version = self.commission + fill.commission, self.version + 1
        cost = fill.price * fill.quantity
        if fill.side is self.side.entry_side:
            return with_values(
                self,
                entry_quantity=self.entry_quantity + fill.quantity,
                entry_cost=self.entry_cost + cost,
                commission=commission,
                version=version,
            )
        if fill.quantity > self.quantity:
            raise ValueError(
                f"{self.symbol}: exit fill {fill.trade_id} of {fill.quantity} exceeds the held"
                f" {self.quantity}"
            )
        return with_values(
            self,
            exit_quantity=self.exit_quantity + fill.quantity,
            exit_cost=self.exit_cost + cost,
            commission=commission,
            version=version,
        )


def realized_of(
    side: PositionSide,
    entry_quantity: Decimal,
    entry_cost: Decimal,
    exit_quantity: Decimal,
    exit_cost: Decimal,
) -> Decimal:
    """Profit of the closed part of such sums before commission and funding, exact.

    (exit cost - entry cost x closed share) x sign. The division is done last so that a position
    closed in full has no rounding at all.
    """
    if not exit_quantity:
        return Decimal(0)
    if exit_quantity == entry_quantity:
        return (exit_cost - entry_cost) * side.sign
    return (exit_cost - entry_cost * exit_quantity / entry_quantity) * side.sign
