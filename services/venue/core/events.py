"""What the engine tells: changes of orders, of the account, of the wallet."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.venue.core.account import Holding
from services.venue.core.orders import Conditional, Income, Trade, VenueOrder


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """A plain order changed.

    `execution` is NEW, TRADE, AMENDMENT, CANCELED, EXPIRED or CALCULATED.
    """

    order: VenueOrder
    execution: str
    time: int
    trade: Trade | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ConditionalEvent:
    """A conditional order changed."""

    order: Conditional
    time: int


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """Wallet and, except for funding, one position changed. `reason` as Binance's field `m`."""

    reason: str
    time: int
    wallet: Decimal
    change: Decimal
    """Change of the wallet that is neither realised PnL nor commission."""
    holding: Holding | None = None
    mark: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class IncomeEvent:
    """An entry of the income log; not pushed to clients."""

    income: Income
    time: int


VenueEvent = OrderEvent | ConditionalEvent | AccountEvent | IncomeEvent
