"""What the exchange tells and answers, as values that the core understands."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.trade.candle import Candle
from services.trade.filters import SymbolFilters
from services.trade.order import Fill, OrderState, Side


@dataclass(frozen=True, slots=True)
class OrderReport:
    """One order as the exchange sees it, from the user stream or by asking."""

    client_order_id: str
    exchange_order_id: str
    symbol: str
    side: Side
    state: OrderState
    quantity: Decimal
    filled_quantity: Decimal
    average_price: Decimal | None
    time: int
    """Market time of the last change."""
    reduce_only: bool = False
    conditional: bool = False
    trigger_price: Decimal | None = None
    reason: str = ""
    """Exchange error or end reason; empty when plain."""


@dataclass(frozen=True, slots=True)
class FillReport:
    """A fill from the user stream or by asking."""

    fill: Fill


@dataclass(frozen=True, slots=True)
class FundingReport:
    """Funding settled by the exchange; amount received, negative when paid."""

    symbol: str
    amount: Decimal
    time: int
    transaction_id: str


@dataclass(frozen=True, slots=True)
class ExchangePosition:
    """A position as the exchange holds it; quantity is signed, negative for SHORT."""

    symbol: str
    quantity: Decimal
    entry_price: Decimal
    mark_price: Decimal
    unrealized_pnl: Decimal
    position_side: str = "BOTH"
    """`BOTH` in one-way mode, `LONG` or `SHORT` in hedge mode."""


@dataclass(frozen=True, slots=True)
class AccountReport:
    """The account as the exchange reports it, whole, by asking."""

    wallet_balance: Decimal
    available_balance: Decimal
    time: int
    positions: tuple[ExchangePosition, ...] = ()


@dataclass(frozen=True, slots=True)
class WalletReport:
    """The wallet balance after a change, from the user stream."""

    wallet_balance: Decimal
    time: int
    cause: str
    """Exchange's reason, for example ORDER or FUNDING_FEE."""


@dataclass(frozen=True, slots=True)
class CandleClosed:
    """A candle closed."""

    candle: Candle


@dataclass(frozen=True, slots=True)
class PriceReport:
    """Last price of a symbol."""

    symbol: str
    time: int
    mark: Decimal
    bid: Decimal | None = None
    ask: Decimal | None = None
    funding_rate: Decimal | None = None
    """Rate that will be paid at `next_funding_time`, as a fraction of the notional; positive:
    longs pay."""
    next_funding_time: int | None = None
    """Market time of the next funding."""


@dataclass(frozen=True, slots=True)
class PointReached:
    """The paper venue moved market time and waits for `idle` (lockstep) or goes on (free).

    It comes after every other event of its point has been handed out, so that who has handled it
    has handled all of the point.
    """

    number: int
    time: int
    closed_symbols: tuple[str, ...] = ()
    """Symbols whose candles closed at this point: the members of its round."""
    lockstep: bool = True
    ended: bool = False
    """True when the market has no more candles."""


@dataclass(frozen=True, slots=True)
class StreamStateChanged:
    """A socket of the exchange came up or went down; after `up` everything may have been missed."""

    stream: str
    """`user` or `market`."""
    up: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SymbolsListed:
    """Symbols began to trade, followed from the next candle on, or their filters changed."""

    filters: dict[str, SymbolFilters]


ExchangeEvent = (
    SymbolsListed
    | OrderReport
    | FillReport
    | FundingReport
    | WalletReport
    | CandleClosed
    | PriceReport
    | PointReached
    | StreamStateChanged
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The exchange took the request."""

    report: OrderReport


@dataclass(frozen=True, slots=True)
class Refused:
    """The exchange's answer proves that nothing was done."""

    code: str
    """Exchange code such as `-2019`, or `not_sent` when no byte left this machine."""
    message: str
    retryable: bool = False
    """True where sending again can cure it (rate limit, not sent, clock skew)."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """It is not known whether the exchange took the request; ask by the client order id."""

    reason: str


RequestOutcome = Accepted | Refused | Unknown


@dataclass(frozen=True, slots=True)
class ExchangeSnapshot:
    """All that reconciliation compares with, read at one time."""

    account: AccountReport
    open_orders: tuple[OrderReport, ...]
    fills: tuple[Fill, ...] = ()
    funding: tuple[FundingReport, ...] = ()
    leverage: dict[str, int] = field(default_factory=dict)
    margin_types: dict[str, str] = field(default_factory=dict)
    """`CROSSED` or `ISOLATED` by symbol; what is traded here is CROSSED."""
    hedge_mode: bool = False
    """True while the account holds LONG and SHORT apart: no entries are sent then."""
