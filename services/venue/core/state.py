"""The live state of the venue: all that a step or a request can change."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from services.venue.core.account import Account
from services.venue.core.book import Book
from services.venue.core.disturbances import Disturbance
from services.venue.core.rules import SymbolRules, VenueRules


@dataclass(slots=True)
class State:
    """Rules, account, book and prices at one step."""

    rules: VenueRules
    symbols: dict[str, SymbolRules]
    seed: int
    account: Account
    book: Book = field(default_factory=Book)
    marks: dict[str, Decimal] = field(default_factory=dict)
    """Last price of every symbol that trades; it is the mark price too."""
    disturbances: dict[str, Disturbance] = field(default_factory=dict)
    """Faults of the market in force, by id."""
    countdowns: dict[str, int] = field(default_factory=dict)
    """Market time at which all open orders of a symbol are cancelled, unless told again."""
    number: int = 0
    """Number of the last step, 0 before the first."""
    time: int = 0
    """Market time of the last step."""

    def has_orders(self, symbol: str) -> bool:
        """Tell whether a step can do anything for this symbol."""
        orders, conditionals = self.book.orders, self.book.conditionals
        if not orders and not conditionals:
            return False
        return any(o.symbol == symbol for o in orders.values()) or any(
            c.symbol == symbol for c in conditionals.values()
        )
