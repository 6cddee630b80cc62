"""What one trade was: its money, its costs, its risk, and how far the price went meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from services.analytics.core.trades import Trade
from services.trade.candle import Candle
from services.trade.position import Position


@dataclass(frozen=True, slots=True)
class Extremes:
    """Lowest and highest price while a trade was open, its fills included."""

    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class TradeTruth:
    """A closed trade with what it is measured by. Amounts in the quote asset."""

    trade: Trade
    signal_price: Decimal | None = None
    """Price that the signal was made at; None when no signal led to the trade."""
    extremes: Extremes | None = None
    """None when the candles of its time are not known."""

    @property
    def position(self) -> Position:
        """The position."""
        return self.trade.position

    @property
    def net(self) -> Decimal:
        """Profit after commission and funding."""
        return self.position.net_pnl

    @property
    def holding_ms(self) -> int:
        """Market time from the first fill to the last."""
        return (self.position.closed_time or self.position.opened_time) - self.position.opened_time

    @property
    def slippage(self) -> Decimal | None:
        """What the entry cost more than at the signal's price; negative when it was better."""
        entry = self.position.entry_price
        if self.signal_price is None or entry is None:
            return None
        # by cost, so that it is exact: an average price may have no end
        at_signal = self.signal_price * self.position.entry_quantity
        return (self.position.entry_cost - at_signal) * self.position.side.sign

    @property
    def slippage_bp(self) -> float | None:
        """Slippage in basis points of the signal's price."""
        slippage = self.slippage
        if slippage is None or not self.signal_price:
            return None
        return float(slippage / (self.signal_price * self.position.entry_quantity) * 10_000)

    @property
    def risk(self) -> Decimal | None:
        """What the first stop put at risk before costs: distance from the entry times quantity.

        None without a stop, or with one on the winning side, which puts nothing at risk.
        """
        stop = self.trade.initial_stop
        if stop is None:
            return None
        stopped = stop * self.position.entry_quantity
        risk = (self.position.entry_cost - stopped) * self.position.side.sign
        return risk if risk > 0 else None

    @property
    def r(self) -> float | None:
        """Net profit in units of the initial risk: Tharp, "Trade Your Way to Financial Freedom".

        A share of two amounts for the same quantity, so the size of the trade does not matter.
        """
        risk = self.risk
        return float(self.net / risk) if risk else None

    @property
    def adverse(self) -> Decimal | None:
        """MAE: the worst open loss of the whole entry before costs, zero or more.

        Sweeney, "Maximum Adverse Excursion" (1997).
        """
        return self._excursion(worst=True)

    @property
    def favourable(self) -> Decimal | None:
        """MFE: the best open profit of the whole entry before costs, zero or more."""
        return self._excursion(worst=False)

    def _excursion(self, *, worst: bool) -> Decimal | None:
        if self.extremes is None:
            return None
        long = self.position.side.sign > 0
        price = self.extremes.low if long == worst else self.extremes.high
        gain = price * self.position.entry_quantity - self.position.entry_cost
        gain *= self.position.side.sign
        return max(-gain if worst else gain, Decimal(0))


def extremes_of(prices: Iterable[Decimal]) -> Extremes | None:
    """Return the lowest and highest of some prices; None of none."""
    known = list(prices)
    return Extremes(min(known), max(known)) if known else None


def prices_between(candles: Iterable[Candle], since: int, until: int) -> list[Decimal]:
    """Return the points of the candles' paths from one market time to another, both included."""
    return [p for c in candles for time, p in c.path() if since <= time <= until]


def candles_between(since: int, until: int, length_ms: int) -> int:
    """Return how many candles of a length have a part between two market times."""
    return -(-until // length_ms) - since // length_ms
