"""How a price that moves meets an order: what is reached, at which price, how much, in which order.

Between two points of one candle the price passes everything in between, so an order is met at
its own price. Between two candles it jumps, so an order is met at the price where it lands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from services.trade.filters import SymbolFilters
from services.trade.order import Side
from services.venue.core.chance import fraction
from services.venue.core.orders import Conditional, VenueOrder
from services.venue.core.rules import VenueRules
from services.venue.core.steps import Point

_HALF = Decimal("0.5")


@dataclass(frozen=True, slots=True)
class Move:
    """The way of one symbol's price in one step."""

    start: Decimal
    end: Decimal
    gap: bool

    def meets_limit(self, order: VenueOrder) -> bool:
        """Tell whether a resting limit order is reached. Touching its price is enough."""
        assert order.price is not None  # noqa: S101 - limit orders have a price
        if order.side is Side.BUY:
            return (self.end if self.gap else min(self.start, self.end)) <= order.price
        return (self.end if self.gap else max(self.start, self.end)) >= order.price

    def meets_conditional(self, order: Conditional) -> bool:
        """Tell whether a conditional order is triggered."""
        return order.reached(self.end) or (not self.gap and order.reached(self.start))

    def price_at(self, own: Decimal) -> Decimal:
        """Return the market's price when an order with this price is met."""
        return self.end if self.gap else own

    def distance(self, own: Decimal) -> Decimal:
        """Return how far the price has gone when it meets this price; orders it begins on first."""
        if self.gap:
            return Decimal(0)
        ahead = (own - self.start) if self.end >= self.start else (self.start - own)
        return max(Decimal(0), ahead)


def trailed(order: Conditional, prices: Iterable[Decimal], filters: SymbolFilters) -> Conditional:
    """Return a trailing stop after prices, in their order; its trigger only ever comes closer.

    It is activated by the first price at or beyond its activation price, and then stands its
    callback rate away from the best price since.
    """
    if order.callback_rate is None:
        return order
    best, start, falls = order.best, order.activation_price, order.side is Side.SELL
    for price in prices:
        if best is None:
            if start is None or (price >= start if falls else price <= start):
                best = price
        else:
            best = max(best, price) if falls else min(best, price)
    if best is None or best == order.best:
        return order
    away = best * order.callback_rate / 100
    trigger = filters.floor_price(best - away) if falls else filters.ceil_price(best + away)
    return replace(order, best=best, trigger_price=max(filters.tick_size, trigger))


def marketable(side: Side, price: Decimal, market: Decimal) -> bool:
    """Tell whether a limit price would take at this market price."""
    return price >= market if side is Side.BUY else price <= market


def liquidity(
    rules: VenueRules, filters: SymbolFilters, seed: int, point: Point, number: int
) -> Decimal:
    """Return the quantity that may fill at a point, all of our orders together."""
    share = rules.participation * (_HALF + fraction("liquidity", seed, point.symbol, number))
    least = rules.least_liquidity / point.price
    return filters.ceil_quantity(max(point.volume * share, least))


def taker_price(
    rules: VenueRules,
    filters: SymbolFilters,
    *,
    side: Side,
    market: Decimal,
    quantity: Decimal,
    volume: Decimal,
    noise: Decimal,
) -> Decimal:
    """Return the price that a taker pays: half the spread, and impact growing with its share.

    `noise` in [0, 1) scales the impact between 0.5 and 1.5; the tick is rounded against the taker.
    """
    half = max(market * rules.half_spread, filters.tick_size / 2)
    part = quantity / volume if volume > 0 else Decimal(1)
    impact = min(rules.max_impact, rules.impact * part * (_HALF + noise))
    move = half + market * impact
    if side is Side.BUY:
        return filters.ceil_price(market + move)
    return max(filters.tick_size, filters.floor_price(market - move))
