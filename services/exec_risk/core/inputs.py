"""What the shell tells the core besides the exchange's own events."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.exec_risk.core.exchange_events import (
    ExchangeSnapshot,
    OrderReport,
    PriceReport,
    RequestOutcome,
)
from services.exec_risk.core.policy import Gates
from services.trade.execution import ExecutionStrategy
from services.trade.filters import SymbolFilters
from services.trade.fund_policy import Directive, FundPolicy
from services.trade.order import Side, TimeInForce
from services.trade.position import TradingState


@dataclass(frozen=True, slots=True)
class Signal:
    """Advice to enter a position; times are market time."""

    signal_id: str
    venue: str
    symbol: str
    timeframe: str
    side: Side
    confidence: float
    price: Decimal
    atr_fraction: Decimal
    round_time: int
    expires_at: int
    model_version: str = ""
    in_sample: bool = False
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one candle; without a signal it is HOLD."""

    symbol: str
    timeframe: str
    round_time: int
    signal: Signal | None = None


@dataclass(frozen=True, slots=True)
class PredictionsArrived:
    """A batch of answers."""

    predictions: tuple[Prediction, ...]
    in_sample: bool = False


@dataclass(frozen=True, slots=True)
class RoundOpened:
    """The candles of one market time that are to be judged together."""

    time: int
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundTimedOut:
    """The wait for the answers of a round is over."""

    time: int


@dataclass(frozen=True, slots=True)
class PlaceAnswered:
    """What came of sending an order."""

    client_order_id: str
    outcome: RequestOutcome


@dataclass(frozen=True, slots=True)
class CancelAnswered:
    """What came of cancelling an order."""

    client_order_id: str
    outcome: RequestOutcome


@dataclass(frozen=True, slots=True)
class OrderFound:
    """What asking by client order id gave; None is proof that the exchange never had it."""

    client_order_id: str
    report: OrderReport | None


@dataclass(frozen=True, slots=True)
class LeverageAnswered:
    """The leverage that the read-back said; None when it could not be set."""

    symbol: str
    leverage: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotRead:
    """The exchange's state, read whole, to reconcile with."""

    snapshot: ExchangeSnapshot
    cause: str


@dataclass(frozen=True, slots=True)
class PricesHeard:
    """The last prices that were heard before a term began, which an earlier one was told."""

    prices: tuple[PriceReport, ...]


@dataclass(frozen=True, slots=True)
class FiltersRead:
    """The filters of the symbols that can be traded."""

    filters: dict[str, SymbolFilters]


@dataclass(frozen=True, slots=True)
class Tick:
    """The shell's slow pulse: what was put off is tried again."""


@dataclass(frozen=True, slots=True)
class ProtectionOverdue:
    """A position was without a live stop for longer than its grace."""

    position_id: str


@dataclass(frozen=True, slots=True)
class ExitOverdue:
    """A position that is being closed was still open after the deadline of exits."""

    position_id: str


@dataclass(frozen=True, slots=True)
class GatesChanged:
    """Drain or maintenance was switched."""

    gates: Gates


@dataclass(frozen=True, slots=True)
class PolicyRead:
    """Versions of the fund's policy, the oldest first; known ones among them change nothing."""

    policies: tuple[FundPolicy, ...]


@dataclass(frozen=True, slots=True)
class DirectiveHeard:
    """The fund asks for a change of one open position; a repeated one changes nothing."""

    directive: Directive


@dataclass(frozen=True, slots=True)
class SetTradingState:
    """An operator moves the account's switch."""

    request_id: str
    state: TradingState
    reason: str
    changed_by: str = ""


@dataclass(frozen=True, slots=True)
class EmergencyStop:
    """Close everything, cancel every entry and latch.

    Without a request id nobody waits for an answer: the shell's own latch, or a limit.
    """

    request_id: str
    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class ResetEmergency:
    """A person releases the latch of an emergency stop."""

    request_id: str
    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class SwitchesRead:
    """What the database holds of the account's switches, whoever wrote it."""

    trading_state: TradingState
    instead_of: TradingState
    """What the core held when it was read; by a command in between it is out of date."""
    stop: EmergencyStop | None = None
    """An emergency stop that is latched there."""


@dataclass(frozen=True, slots=True)
class ClosePosition:
    """An operator closes a position."""

    request_id: str
    symbol: str


@dataclass(frozen=True, slots=True)
class VerifyDue:
    """It is time to compare everything with the exchange again."""


@dataclass(frozen=True, slots=True)
class ReconcileNow:
    """An operator asks in what both sides differ, and to repair it."""

    request_id: str
    apply: bool


@dataclass(frozen=True, slots=True)
class ValidateEntry:
    """A caller asks what the rules would say of an entry."""

    request_id: str
    symbol: str
    side: Side
    size_usd: Decimal
    leverage: int = 0


@dataclass(frozen=True, slots=True)
class SubmitExecution:
    """A caller wants a quantity executed; exactly one of the three sizes is set."""

    request_id: str
    symbol: str
    side: Side
    strategy: ExecutionStrategy
    quantity: Decimal | None = None
    notional_usd: Decimal | None = None
    margin_usd: Decimal | None = None
    """The notional is margin times leverage."""
    leverage: int = 0
    """The policy's when 0."""
    reduce_only: bool = False
    limit_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    duration_ms: int = 0
    max_slippage: Decimal | None = None
    stop_fraction: Decimal | None = None
    take_fraction: Decimal | None = None
    trace_id: str = ""

    def notional(self, price: Decimal, leverage: int) -> Decimal:
        """Return the notional in USD that is asked for."""
        if self.quantity is not None:
            return self.quantity * price
        if self.notional_usd is not None:
            return self.notional_usd
        return (self.margin_usd or Decimal(0)) * leverage


@dataclass(frozen=True, slots=True)
class CancelOrder:
    """A caller cancels an order, or all that is left of its execution."""

    request_id: str
    client_order_id: str


Command = (
    SetTradingState
    | EmergencyStop
    | ResetEmergency
    | ClosePosition
    | ValidateEntry
    | SubmitExecution
    | CancelOrder
    | ReconcileNow
)

Input = (
    PredictionsArrived
    | RoundOpened
    | RoundTimedOut
    | PlaceAnswered
    | CancelAnswered
    | OrderFound
    | LeverageAnswered
    | SnapshotRead
    | VerifyDue
    | PricesHeard
    | FiltersRead
    | Tick
    | ProtectionOverdue
    | ExitOverdue
    | GatesChanged
    | SwitchesRead
    | PolicyRead
    | DirectiveHeard
    | Command
)
