"""What the core decides: records to store and publish, and requests to carry out, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.exec_risk.core.market import Quote
from services.exec_risk.core.trailing import Progress
from services.exec_risk.core.volume_profile import VolumeProfile
from services.trade.execution import Execution
from services.trade.order import Fill, Order, OrderPurpose, OrderState
from services.trade.position import Position, PositionSide, SafetyLevel, TradingState


@dataclass(frozen=True, slots=True)
class EntryPlan:
    """Why and how a position is entered and protected; kept from the decision to the close."""

    position_id: str
    symbol: str
    side: PositionSide
    leverage: int
    stop_fraction: Decimal
    take_fraction: Decimal
    price: Decimal
    """Price that the decision was made on: only for slippage, never taken as a fill."""
    decided_time: int
    atr_fraction: Decimal = Decimal(0)
    """Average true range at the decision as a fraction of price; 0: not known."""
    signal_id: str = ""
    expires_at: int = 0
    confidence: float = 0.0
    model_version: str = ""
    in_sample: bool = False
    trace_id: str = ""


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
class AccountSnapshot:
    """The money of the account at a market time; stored, and published after a reading."""

    time: int
    wallet_balance: Decimal | None
    unrealized_pnl: Decimal
    available_balance: Decimal | None
    gross_exposure: Decimal
    daily_pnl: Decimal
    daily_trades: int
    open_positions: int
    trading_state: TradingState
    last_round: int
    in_sample: bool
    entries_blocked_by: str = ""
    published: bool = False
    prices: dict[str, Decimal] = field(default_factory=dict)
    quotes: dict[str, Quote] = field(default_factory=dict)
    latched: bool = False
    safety: SafetyLevel = SafetyLevel.NORMAL
    high_water: Decimal | None = None
    """Highest equity so far, as the drawdown limit sees it."""
    read_time: int = 0
    """Market time of the last full reading of the exchange; 0 before the first."""

    @property
    def equity(self) -> Decimal | None:
        """Wallet plus unrealised profit; None while the wallet is not known."""
        return None if self.wallet_balance is None else self.wallet_balance + self.unrealized_pnl


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
    | Alert
)


@dataclass(frozen=True, slots=True)
class StorePlan:
    """Keep a plan."""

    plan: EntryPlan


@dataclass(frozen=True, slots=True)
class StoreVolumes:
    """Keep what symbols trade."""

    profiles: tuple[VolumeProfile, ...]


@dataclass(frozen=True, slots=True)
class StoreProgress:
    """Keep how far a position's protection has come."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class StoreDay:
    """Keep the counters of one UTC day."""

    day: str
    start_equity: Decimal | None
    pnl: Decimal
    trades: int
    opened: int = 0
    losses: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of an operator's request, under its id."""

    request_id: str
    ok: bool
    result: dict[str, str]


Change = Fact | AccountSnapshot | StorePlan | StoreProgress | StoreDay | StoreVolumes | Answer
"""What one transaction stores; facts among it also go into the outbox."""


@dataclass(frozen=True, slots=True)
class Place:
    """Send this order once; it is stored as SUBMITTED by the same handle()."""

    order: Order


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel this order."""

    order: Order


@dataclass(frozen=True, slots=True)
class Resolve:
    """Ask for this order by its client order id until it is known what became of it."""

    order: Order


@dataclass(frozen=True, slots=True)
class SetLeverage:
    """Set a symbol's leverage and read it back."""

    symbol: str
    leverage: int


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Read the exchange whole and compare."""

    cause: str


Action = Place | Cancel | Resolve | SetLeverage | Reconcile
Effect = Change | Action
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
    Alert,
)
ACTIONS = (Place, Cancel, Resolve, SetLeverage, Reconcile)
WRITES = (Place, Cancel, SetLeverage)
"""Actions that change something on the exchange."""
