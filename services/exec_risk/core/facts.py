"""What has happened to the account, as the core tells it: stored and published as values."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.trade.execution import Execution
from services.trade.order import Fill, Order, OrderPurpose, OrderState
from services.trade.position import Position, SafetyLevel, TradingState


@dataclass(frozen=True, slots=True)
class OrderChanged:
    """An order changed; `previous` is None for a new one."""

    order: Order
    previous: OrderState | None
    cause: str
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class FillRecorded:
    """A fill was applied."""

    fill: Fill
    position_id: str
    purpose: OrderPurpose | None
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class FundingPaid:
    """Funding was settled; amount received, negative when paid."""

    symbol: str
    amount: Decimal
    time: int
    transaction_id: str
    position_id: str = ""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class PositionOpened:
    """First fill of a position."""

    position: Position
    stop_loss_price: Decimal | None
    take_profit_price: Decimal | None
    trailing: bool = False
    """True when its stop will trail the price."""


@dataclass(frozen=True, slots=True)
class PositionChanged:
    """Quantity or protection of an open position changed."""

    position: Position


@dataclass(frozen=True, slots=True)
class PositionClosed:
    """Last fill of a position."""

    position: Position


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """What came of an order that was to be executed."""

    order: Order
    status: str
    leverage: int
    slippage: Decimal | None
    commission: Decimal = Decimal(0)
    """Commission in USD over all fills of the order; negative when a rebate."""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class ExecutionChanged:
    """An execution began, went on or ended."""

    execution: Execution
    cause: str
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class RiskDecided:
    """What the rules said of one signal."""

    signal_id: str
    symbol: str
    approved: bool
    rule: str
    reason: str
    time: int
    notional: Decimal | None = None
    quantity: Decimal | None = None
    leverage: int = 0
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class RoundDecided:
    """All candles of one market time were judged."""

    time: int
    symbols: tuple[str, ...]
    missing: tuple[str, ...]
    signal_ids: tuple[str, ...]
    equity: Decimal | None
    wallet_balance: Decimal | None
    open_positions: int
    closes: dict[str, Decimal]
    in_sample: bool


@dataclass(frozen=True, slots=True)
class TradingStateChanged:
    """The account's switch was moved."""

    previous: TradingState
    state: TradingState
    reason: str
    changed_by: str
    time: int
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class SafetyLevelChanged:
    """The account became more or less careful; the level is stored with this fact."""

    previous: SafetyLevel
    level: SafetyLevel
    reason: str
    time: int


@dataclass(frozen=True, slots=True)
class Latch:
    """An emergency stop that nobody has reset."""

    reason: str
    by: str
    """Rule or person that pulled it."""
    time: int
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class EmergencyStopped:
    """The emergency stop was pulled; its latch is stored with this fact."""

    latch: Latch
    severity: str
    open_positions: int
    drawdown: Decimal | None
    """Fraction of the highest equity that is lost; None while equity is not known."""


@dataclass(frozen=True, slots=True)
class EmergencyReset:
    """A person released the latch."""

    latch: Latch
    reason: str
    by: str
    time: int
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class ReconcileRepaired:
    """What was stored differed from the exchange and was put right."""

    symbol: str
    kind: str
    detail: str
    time: int
    evidence: str = ""
    """What identifies this repair, so that its message id is the same again."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something about risk that a person should know."""

    severity: str
    alert_type: str
    message: str
    time: int
    symbol: str = ""
    action_taken: str = ""
    open_positions: int = 0
    exposure: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class DirectiveApplied:
    """What became of a directive; it is kept with this fact."""

    directive_id: str
    symbol: str
    result: str
    """APPLIED, REFUSED or EXPIRED."""
    reason: str
    client_order_ids: tuple[str, ...]
    deadline: int
    time: int
    trace_id: str = ""


Fact = (
    OrderChanged
    | FillRecorded
    | FundingPaid
    | PositionOpened
    | PositionChanged
    | PositionClosed
    | ExecutionResult
    | ExecutionChanged
    | RiskDecided
    | RoundDecided
    | TradingStateChanged
    | SafetyLevelChanged
    | EmergencyStopped
    | EmergencyReset
    | ReconcileRepaired
    | DirectiveApplied
    | Alert
)
FACTS = (
    OrderChanged,
    FillRecorded,
    FundingPaid,
    PositionOpened,
    PositionChanged,
    PositionClosed,
    ExecutionResult,
    ExecutionChanged,
    RiskDecided,
    RoundDecided,
    TradingStateChanged,
    SafetyLevelChanged,
    EmergencyStopped,
    EmergencyReset,
    ReconcileRepaired,
    DirectiveApplied,
    Alert,
)
