"""The account: wallet, positions, cross margin. Every amount exact to the last digit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from services.trade.order import Side
from services.venue.core.orders import PositionSide
from services.venue.core.rules import SymbolRules

CENT = Decimal("0.00000001")
"""Smallest amount of money that the venue books."""
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Holding:
    """A position or a leg of one: signed quantity, and what its held part cost."""

    symbol: str
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    """Entry price times quantity of the held part, never negative."""
    realized: Decimal = ZERO
    """Profit realised on this symbol so far, before fees."""
    update_time: int = 0
    position_side: PositionSide = PositionSide.BOTH

    @property
    def entry_price(self) -> Decimal:
        """Average entry price; zero when flat."""
        return self.cost / abs(self.quantity) if self.quantity else ZERO

    def unrealized(self, mark: Decimal) -> Decimal:
        """Profit of the held part at a mark price."""
        value = mark * self.quantity
        return value - self.cost if self.quantity > 0 else value + self.cost

    def closable(self, side: Side) -> Decimal:
        """Quantity that an order of this side could close."""
        return max(ZERO, -self.quantity * side.sign)

    def with_fill(
        self, side: Side, price: Decimal, quantity: Decimal, time: int
    ) -> tuple[Holding, Decimal]:
        """Return the position after a fill, and the profit that the fill realised.

        The cost share of a partial close is booked to 1e-8 and what is left keeps the rest, so
        over a whole round trip no digit is lost.
        """
        closed = min(quantity, self.closable(side))
        realized, cost = ZERO, self.cost
        if closed:
            held = abs(self.quantity)
            share = cost if closed == held else (cost * closed / held).quantize(CENT)
            realized = (share - price * closed) * side.sign
            cost -= share
        cost += price * (quantity - closed)
        changed = replace(
            self,
            quantity=self.quantity + quantity * side.sign,
            cost=cost,
            realized=self.realized + realized,
            update_time=time,
        )
        return changed, realized


@dataclass(slots=True)
class Account:
    """The wallet and positions of the venue's one account, in the quote asset."""

    wallet: Decimal
    default_leverage: int
    holdings: dict[tuple[str, PositionSide], Holding]
    leverages: dict[str, int]
    hedged: bool = False
    """True in hedge mode: a long and a short leg of each symbol, side by side."""

    @staticmethod
    def opened(balance: Decimal, default_leverage: int) -> Account:
        """Return a fresh account."""
        return Account(balance, default_leverage, {}, {})

    def holding(self, symbol: str, leg: PositionSide = PositionSide.BOTH) -> Holding:
        """Return a position of a symbol, flat when there is none."""
        return self.holdings.get((symbol, leg)) or Holding(symbol, position_side=leg)

    def legs(self, symbol: str) -> list[Holding]:
        """Return the positions of a symbol that are not flat."""
        return [held for held in self.open_holdings() if held.symbol == symbol]

    def leverage(self, symbol: str) -> int:
        """Return the leverage that is set for a symbol."""
        return self.leverages.get(symbol, self.default_leverage)

    def open_holdings(self) -> list[Holding]:
        """Return the positions that are not flat, by symbol."""
        return [h for _, h in sorted(self.holdings.items()) if h.quantity]

    def apply_fill(
        self,
        symbol: str,
        side: Side,
        *,
        leg: PositionSide = PositionSide.BOTH,
        price: Decimal,
        quantity: Decimal,
        commission: Decimal,
        time: int,
    ) -> Decimal:
        """Book a fill and return the profit that it realised, before commission."""
        changed, realized = self.holding(symbol, leg).with_fill(side, price, quantity, time)
        self.holdings[symbol, leg] = changed
        self.wallet += realized - commission
        return realized

    def unrealized(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Return the profit of all open positions at the marks."""
        return sum((h.unrealized(marks[h.symbol]) for h in self.open_holdings()), ZERO)

    def margin_balance(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Return wallet plus unrealised profit."""
        return self.wallet + self.unrealized(marks)

    def position_margin(self, held: Holding, mark: Decimal) -> Decimal:
        """Return the initial margin of a position."""
        return abs(held.quantity) * mark / self.leverage(held.symbol)

    def maintenance(
        self, rules: Mapping[str, SymbolRules], marks: Mapping[str, Decimal]
    ) -> Decimal:
        """Return the maintenance margin of all open positions."""
        return sum(
            (
                rules[h.symbol].maintenance(abs(h.quantity) * marks[h.symbol])
                for h in self.open_holdings()
            ),
            ZERO,
        )

    def liquidation_price(
        self, symbol: str, rules: Mapping[str, SymbolRules], marks: Mapping[str, Decimal]
    ) -> Decimal:
        """Return the mark at which this symbol alone would bring liquidation; zero if none.

        Solves margin balance = maintenance margin for the symbol's mark, all other marks fixed;
        both legs of a hedge move together.
        """
        legs = self.legs(symbol)
        if not legs:
            return ZERO
        rest = [h for h in self.open_holdings() if h.symbol != symbol]
        free = self.wallet + sum((h.unrealized(marks[h.symbol]) for h in rest), ZERO)
        free -= sum(
            (rules[h.symbol].maintenance(abs(h.quantity) * marks[h.symbol]) for h in rest), ZERO
        )
        slope = ZERO
        for held in legs:
            size = abs(held.quantity)
            ratio, cumulative = rules[symbol].maintenance_ratio(size * marks[symbol])
            slope += held.quantity - size * ratio
            free += cumulative + (held.cost if held.quantity < 0 else -held.cost)
        return max(ZERO, -free / slope) if slope else ZERO
