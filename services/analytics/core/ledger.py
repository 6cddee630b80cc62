"""Events as the ledger holds them, and the facts in them that projections are made of."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from services.trade.order import Fill, OrderPurpose
from services.trade.position import ExitReason, PositionSide

FillKey = tuple[str, str, str]
"""Account, symbol and trade id: a fill applies once by it."""
FundingKey = tuple[str, str, str]
"""Account, symbol and settlement id: a funding payment applies once by it."""


@dataclass(frozen=True, slots=True)
class BookedFill:
    """A fill with the position it belongs to; an empty position id means that none is known."""

    fill: Fill
    position_id: str
    purpose: OrderPurpose
    sequence: int = 0
    """Place in the stream: tells fills before a round from those after it at the same time."""

    @property
    def key(self) -> FillKey:
        """Name of the fill, unique in the ledger."""
        return (self.fill.account, self.fill.symbol, self.fill.trade_id)

    @property
    def entry(self) -> bool:
        """True when the fill opens or adds to a position."""
        return self.purpose is OrderPurpose.ENTRY

    @property
    def position_side(self) -> PositionSide:
        """Direction of the position that the fill belongs to."""
        side = self.fill.side if self.entry else self.fill.side.opposite
        return PositionSide.opened_by(side)


@dataclass(frozen=True, slots=True)
class BookedFunding:
    """A funding settlement: amount received, negative when paid."""

    account: str
    symbol: str
    settlement_id: str
    """The exchange's transaction id; the market time when it gave none."""
    position_id: str
    amount: Decimal
    time: int
    sequence: int = 0

    @property
    def key(self) -> FundingKey:
        """Name of the settlement, unique in the ledger."""
        return (self.account, self.symbol, self.settlement_id)


@dataclass(frozen=True, slots=True)
class PositionFact:
    """What exec_risk said of a position at one version; the highest version is the truth."""

    position_id: str
    version: int
    account: str
    symbol: str
    side: PositionSide
    closed: bool
    opened_time: int
    leverage: int = 1
    signal_id: str = ""
    trace_id: str = ""
    model_version: str = ""
    entry_confidence: float = 0.0
    in_sample: bool = False
    exit_reason: ExitReason | None = None
    reported_net: Decimal = Decimal(0)
    """Net profit by exec_risk's own account, for comparison only."""
    initial_stop: Decimal | None = None
    """Price of the first stop: what the position put at risk. None when none was told."""
    stop_version: int = 0
    """Version that told the initial stop; 0 when none did."""


@dataclass(frozen=True, slots=True)
class RoundFact:
    """A decided round: the wallet and the closes that the portfolio is valued at."""

    account: str
    time: int
    wallet_balance: Decimal | None
    """None when exec_risk did not know it; the closes count all the same."""
    closes: tuple[tuple[str, Decimal], ...]
    in_sample: bool = False
    sequence: int = 0
    equity: Decimal | None = None
    """Wallet plus unrealised profit at the closes; None when exec_risk did not know it."""


@dataclass(frozen=True, slots=True)
class SignalFact:
    """A signal and the price that it was made at: slippage is measured from it."""

    signal_id: str
    symbol: str
    action: str
    price: Decimal
    time: int
    """Market time of the candle's close."""
    confidence: float
    model_version: str
    in_sample: bool = False


@dataclass(frozen=True, slots=True)
class WalletFact:
    """The wallet as the exchange reported it; it counts until the first round."""

    account: str
    time: int
    wallet_balance: Decimal
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class PredictionFact:
    """One answer of the ensemble to one candle."""

    venue: str
    symbol: str
    timeframe: str
    candle_open: int
    model_version: str
    action: str
    confidence: float
    p_down: float
    p_flat: float
    p_up: float
    in_sample: bool = False

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Candle that was answered: one answer counts, however often it is delivered."""
        return (self.venue, self.symbol, self.timeframe, self.candle_open)


Fact = (
    BookedFill | BookedFunding | PositionFact | RoundFact | WalletFact | PredictionFact | SignalFact
)


class LedgerEvent(NamedTuple):
    """One event of the ledger: who said what when, with its bytes and its facts."""

    event_id: str
    type: str
    time: int
    """Market time in milliseconds; part of the event's identity."""
    source: str
    trace_id: str
    key: str
    """Account of a fact; symbol or service of live traffic."""
    subject: str
    sequence: int
    data: str
    """The message as JSON text."""
    payload: bytes
    facts: tuple[Fact, ...] = ()
