"""Everything the core decides: facts, what is only stored, and actions, as values.

Facts and actions have modules of their own; here is all of it under one name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.exec_risk.core.actions import (
    ACTIONS,
    WRITES,
    Action,
    Cancel,
    Place,
    Reconcile,
    Resolve,
    SetLeverage,
)
from services.exec_risk.core.executions.volume_profile import VolumeProfile
from services.exec_risk.core.facts import (
    FACTS,
    Alert,
    DirectiveApplied,
    EmergencyReset,
    EmergencyStopped,
    ExecutionChanged,
    ExecutionResult,
    Fact,
    FillRecorded,
    FundingPaid,
    Latch,
    OrderChanged,
    PositionChanged,
    PositionClosed,
    PositionOpened,
    ReconcileRepaired,
    RiskDecided,
    RoundDecided,
    SafetyLevelChanged,
    TradingStateChanged,
)
from services.exec_risk.core.market import Quote
from services.exec_risk.core.protection.trailing import Progress
from services.trade.fund_policy import FundPolicy
from services.trade.position import PositionSide, SafetyLevel, TradingState

__all__ = [
    "ACTIONS",
    "FACTS",
    "WRITES",
    "AccountSnapshot",
    "Action",
    "Alert",
    "Answer",
    "Cancel",
    "Change",
    "DirectiveApplied",
    "Effect",
    "EmergencyReset",
    "EmergencyStopped",
    "EntryPlan",
    "ExecutionChanged",
    "ExecutionResult",
    "Fact",
    "FillRecorded",
    "FundingPaid",
    "Latch",
    "OrderChanged",
    "Place",
    "PositionChanged",
    "PositionClosed",
    "PositionOpened",
    "Reconcile",
    "ReconcileRepaired",
    "Resolve",
    "RiskDecided",
    "RoundDecided",
    "SafetyLevelChanged",
    "SetLeverage",
    "StoreCancel",
    "StoreDay",
    "StoreFundPolicy",
    "StorePlan",
    "StoreProgress",
    "StoreVolumes",
    "TradingStateChanged",
]


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
    begun_time: int = 0
    """Market time of the first reading of the exchange; 0 before it."""
    read_time: int = 0
    """Market time of the last full reading of the exchange; 0 before the first."""

    @property
    def equity(self) -> Decimal | None:
        """Wallet plus unrealised profit; None while the wallet is not known."""
        return None if self.wallet_balance is None else self.wallet_balance + self.unrealized_pnl


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
class StoreCancel:
    """Keep that an order's cancel was asked for: it may arrive until the order has ended."""

    client_order_id: str


@dataclass(frozen=True, slots=True)
class StoreFundPolicy:
    """Keep a version of the fund's policy."""

    policy: FundPolicy


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


Change = (
    Fact
    | AccountSnapshot
    | StorePlan
    | StoreProgress
    | StoreCancel
    | StoreDay
    | StoreVolumes
    | StoreFundPolicy
    | Answer
)
"""What one transaction stores; facts among it also go into the outbox."""
Effect = Change | Action
