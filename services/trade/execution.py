"""An execution: a quantity that is brought to the exchange by one or more orders."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from services.trade.order import Side, TimeInForce


class ExecutionStrategy(StrEnum):
    """How a quantity is brought to the exchange."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    TWAP = "TWAP"
    VWAP = "VWAP"
    ICEBERG = "ICEBERG"
    SMART = "SMART"
    """Chosen by the expected impact; an execution holds what was chosen."""


class ExecutionState(StrEnum):
    """Step in the life of an execution."""

    WORKING = "WORKING"
    DONE = "DONE"
    CANCELED = "CANCELED"
    FAILED = "FAILED"

    @property
    def final(self) -> bool:
        """True when no further state follows. A late fill is applied even then."""
        return self is not ExecutionState.WORKING


class ExecutionPhase(StrEnum):
    """What a working execution may still do."""

    OPEN = "OPEN"
    """Sends by its strategy."""
    LAST = "LAST"
    """Its time is over: the last try is under way."""
    STOPPING = "STOPPING"
    """Sends nothing more and ends when its last order has ended."""
    FAILING = "FAILING"
    """As STOPPING, because the exchange refused."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the quantity, due at a market time."""

    time: int
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Execution:
    """One execution. Times are market time, quantities in the base asset, prices in the quote."""

    execution_id: str
    account: str
    symbol: str
    side: Side
    strategy: ExecutionStrategy
    quantity: Decimal
    reference_price: Decimal
    """Price at the decision: slippage is measured from it."""
    started_time: int
    deadline_time: int
    position_id: str
    state: ExecutionState = ExecutionState.WORKING
    phase: ExecutionPhase = ExecutionPhase.OPEN
    filled_quantity: Decimal = Decimal(0)
    filled_cost: Decimal = Decimal(0)
    """Sum of price times quantity over the fills."""
    expected_impact: Decimal | None = None
    """Fraction of the price that the whole quantity would move it at once; None: not known."""
    max_slippage: Decimal = Decimal("0.005")
    """Largest fraction of the reference price that may be paid on top of it."""
    reduce_only: bool = False
    limit_price: Decimal | None = None
    """Worst price that the caller takes."""
    time_in_force: TimeInForce = TimeInForce.GTC
    """How long the limit orders of LIMIT rest."""
    schedule: tuple[Slice, ...] = ()
    """Parts and their times; empty when it is not sliced by time."""
    slices_sent: int = 0
    """Parts of the schedule that an order was made for."""
    display_quantity: Decimal | None = None
    """Largest quantity that is shown at once; None: all of it."""
    orders: int = 0
    """Orders made so far."""
    child: str = ""
    """Client order id of the order whose end was not judged yet."""
    withdrawing: bool = False
    """True when the child's cancel was asked for."""
    refusals: int = 0
    """Proven refusals since the last order that was taken."""
    next_time: int = 0
    """Market time before which nothing is sent."""
    signal_id: str = ""
    updated_time: int = 0
    reason: str = ""
    version: int = 0
    """Rises by one with each change that is told."""

    @property
    def left(self) -> Decimal:
        """Quantity that is not filled yet, never negative."""
        return max(self.quantity - self.filled_quantity, Decimal(0))

    @property
    def average_price(self) -> Decimal | None:
        """Average fill price; None before the first fill."""
        return self.filled_cost / self.filled_quantity if self.filled_quantity else None

    @property
    def sends(self) -> bool:
        """True while further orders may follow."""
        return not self.state.final and self.phase in (ExecutionPhase.OPEN, ExecutionPhase.LAST)

    @property
    def slices(self) -> int:
        """Number of parts that it was planned in."""
        if self.schedule:
            return len(self.schedule)
        if self.display_quantity:
            return int(-(-self.quantity // self.display_quantity))
        return 1
