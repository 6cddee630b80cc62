"""What the open positions are worth at the last prices: asked for far oftener than it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from services.exec_risk.core.counted import Counted
from services.trade.position import Position

Price = tuple[Decimal, int]
"""Last price and its market time."""
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Worth:
    """Sums over the open positions, in USD."""

    unrealized: Decimal = _ZERO
    """Profit that is not realised."""
    gross: Decimal = _ZERO
    """Absolute notional."""
    margin: Decimal = _ZERO
    """Notional divided by leverage."""


class Valuation:
    """Values a position again only when it or its price changed, all of them when any did."""

    def __init__(self) -> None:
        self._seen = (-1, -1)
        self._each: dict[str, tuple[Position, Price | None, Worth]] = {}
        self._all = Worth()

    def of(self, positions: Counted[str, Position], prices: Counted[str, Price]) -> Worth:
        """Return what the positions are worth; without a price by the average entry."""
        seen = (positions.revision, prices.revision)
        if seen != self._seen:
            self._all = self._summed(positions, prices)
            self._seen = seen
        return self._all

    def _summed(self, positions: Mapping[str, Position], prices: Mapping[str, Price]) -> Worth:
        each: dict[str, tuple[Position, Price | None, Worth]] = {}
        unrealized = gross = margin = _ZERO
        for symbol, position in positions.items():
            price, known = prices.get(symbol), self._each.get(symbol)
            if known is None or known[0] is not position or known[1] is not price:
                known = (position, price, _valued(position, price))
            each[symbol] = known
            worth = known[2]
            unrealized += worth.unrealized
            gross += worth.gross
            margin += worth.margin
        self._each = each
        return Worth(unrealized, gross, margin)


def _valued(position: Position, price: Price | None) -> Worth:
    mark = position.entry_price or _ZERO if price is None else price[0]
    notional = position.notional(mark)
    return Worth(position.unrealized_pnl(mark), notional, notional / max(position.leverage, 1))
