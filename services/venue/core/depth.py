"""The order book around the last price: made of market and seed only, and it bears no orders."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from services.trade.filters import SymbolFilters
from services.venue.core.chance import fraction
from services.venue.core.rules import VenueRules

SHOWN_NOTIONAL = Decimal(20_000)
"""Worth of what stands at the best price of each side, in the quote asset."""
DEEPEST = 50
"""Most levels of a side."""
_HALF = Decimal("0.5")

Level = tuple[Decimal, Decimal]
"""Price and quantity."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Both sides of a symbol's book, the best prices first."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


def best_prices(
    rules: VenueRules, filters: SymbolFilters, mark: Decimal
) -> tuple[Decimal, Decimal]:
    """Return bid and ask: half the spread, at least half a tick, from the last price."""
    half = max(mark * rules.half_spread, filters.tick_size / 2)
    return max(filters.tick_size, filters.floor_price(mark - half)), filters.ceil_price(mark + half)


def ladder(
    rules: VenueRules,
    filters: SymbolFilters,
    *,
    symbol: str,
    seed: int,
    number: int,
    mark: Decimal,
    levels: int,
) -> Ladder:
    """Return the book of a symbol after a step; deeper levels hold more."""
    bid, ask = best_prices(rules, filters, mark)
    spacing = max(filters.tick_size, 2 * mark * rules.half_spread)
    base = SHOWN_NOTIONAL / mark
    bids: list[Level] = []
    asks: list[Level] = []
    for place in range(min(levels, DEEPEST)):
        low = filters.floor_price(bid - place * spacing)
        grown = base * (1 + Decimal(place) / 4)
        sizes = [
            base if not place else grown * (_HALF + fraction("depth", seed, *named, place))
            for named in ((symbol, number, "bid"), (symbol, number, "ask"))
        ]
        if low > 0:
            bids.append((low, filters.ceil_quantity(sizes[0])))
        asks.append((filters.ceil_price(ask + place * spacing), filters.ceil_quantity(sizes[1])))
    return Ladder(tuple(bids), tuple(asks))
