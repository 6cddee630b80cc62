"""An entry that is being judged: the signal, the account and the size it would have."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.exec_risk.core.inputs import Signal
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.sizing import Size, of_quantity, room, size
from services.exec_risk.core.state import Book
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
