"""An entry that is being judged: the signal, the account and the size it would have."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.exec_risk.core import impact
from services.exec_risk.core.inputs import Signal
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.sizing import Size, of_quantity, room, size
from services.exec_risk.core.state import Book
from services.trade.execution import ExecutionStrategy
from services.trade.filters import SymbolFilters


@dataclass(slots=True)
class Entry:
    """An entry that is being judged; `notional` is set when a caller asks for a given size."""

    book: Book
    signal: Signal
    now: int
    leverage: int
    notional: Decimal | None = None
    size: Size | None = None
    stop_fraction: Decimal = Decimal(0)
    take_fraction: Decimal = Decimal(0)
    strategy: ExecutionStrategy | None = None
    """How it would be executed; None: as the policy says."""
    max_slippage: Decimal | None = None
    stop_asked: Decimal | None = None
    """Distance that a caller asks for; None: by the policy."""
    take_asked: Decimal | None = None

    @property
    def policy(self) -> Policy:
        """Limits in force."""
        return self.book.policy

    @property
    def filters(self) -> SymbolFilters:
        """Filters of the symbol; only asked after the rule `unknown_symbol`."""
        return self.book.filters[self.signal.symbol]

    @property
    def price(self) -> Decimal:
        """Last price; only asked after the rule `price`."""
        return self.book.prices[self.signal.symbol][0]

    @property
    def equity(self) -> Decimal:
        """Equity; only asked after the rule `equity`."""
        return self.book.equity() or Decimal(0)

    @property
    def exposure(self) -> Decimal:
        """Gross notional of positions and of entries on their way."""
        return self.book.gross_exposure() + self.book.reserved()

    @property
    def slippage_cap(self) -> Decimal:
        """Largest fraction of the price that may be paid on top; a caller may only lower it."""
        cap = self.policy.execution.max_slippage
        return cap if self.max_slippage is None else min(cap, self.max_slippage)

    def expected_impact(self, quantity: Decimal) -> Decimal | None:
        """Return the impact of a quantity taken at once; None when no volume is known."""
        executing, symbol = self.book.executing, self.signal.symbol
        profile = executing.volumes.get(symbol)
        return impact.expected(quantity, profile, executing.quoted_spread(symbol))

    def sized(self) -> Size:
        """Return the size of the entry; computed once."""
        if self.size is None:
            self.size = self._size()
        return self.size

    def _size(self) -> Size:
        if self.notional is not None:
            quantity = self.filters.floor_quantity(self.notional / self.price)
            return of_quantity(quantity, self.price, self.leverage)
        limit = room(
            self.policy, self.equity, self.leverage, self.exposure, self.book.margin_used()
        )
        return size(
            equity=self.equity,
            confidence=self.signal.confidence,
            stop_fraction=self.stop_fraction,
            price=self.price,
            leverage=self.leverage,
            limit=limit,
            filters=self.filters,
            risk_per_trade=self.policy.risk_per_trade,
        )
