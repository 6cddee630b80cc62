"""Closed trades of the account, and what sizing and limits read from them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from services.trade.position import Position
from services.trade.times import day_start

KEPT = 200
"""Closed trades that are kept besides all of the newest one's UTC day."""


@dataclass(frozen=True, slots=True, order=True)
class ClosedTrade:
    """A closed position's result; ordered by time, then id."""

    closed_time: int
    position_id: str
    symbol: str
    net_pnl: Decimal
    """Profit after commission and funding."""
    entry_cost: Decimal

    @property
    def lost(self) -> bool:
        """True when it cost money."""
        return self.net_pnl < 0

    @property
    def gain(self) -> Decimal:
        """Profit as a fraction of what was put in: the same at every size."""
        return self.net_pnl / self.entry_cost if self.entry_cost else Decimal(0)


def of_position(position: Position) -> ClosedTrade:
    """Return the result of a closed position."""
    assert position.closed_time is not None  # noqa: S101 - only closed ones have a result
    return ClosedTrade(
        position.closed_time,
        position.position_id,
        position.symbol,
        position.net_pnl,
        position.entry_cost,
    )


@dataclass(slots=True)
class Results:
    """The last closed trades, oldest first."""

    trades: list[ClosedTrade] = field(default_factory=list)
    _kelly: dict[tuple[int, int], Decimal | None] = field(
        default_factory=dict, repr=False, compare=False
    )
    """Fractions of these trades, by window and least number."""

    def add(self, trade: ClosedTrade) -> None:
        """Take a result in; the same position counts once."""
        place = bisect_left(self.trades, trade)
        if self.trades[place : place + 1] == [trade]:
            return
        self._kelly.clear()
        self.trades.insert(place, trade)
        today = day_start(self.trades[-1].closed_time)
        while len(self.trades) > KEPT and self.trades[0].closed_time < today:
            del self.trades[0]

    def drop(self, position_id: str) -> None:
        """Take a result back: its position is open again."""
        self._kelly.clear()
        self.trades = [t for t in self.trades if t.position_id != position_id]

    def losses_in_a_row(self) -> int:
        """Return how many of the newest trades lost, without one between that did not."""
        return _trailing_losses(self.trades)

    def symbol_losses(self, symbol: str, time: int) -> int:
        """Return the same for a symbol within the UTC day that holds the market time."""
        today = day_start(time)
        found = [t for t in self.trades if t.symbol == symbol and t.closed_time >= today]
        return _trailing_losses(found)

    def kelly(self, window: int, least: int) -> Decimal | None:
        """Return the Kelly fraction of the last trades: W - (1 - W) / B, between 0 and 1.

        W is the share of winners, B the average winner's gain over the average loser's loss (J. L.
        Kelly, 1956), net of costs. None with fewer than `least` trades.
        """
        asked = (window, least)
        if asked not in self._kelly:
            self._kelly[asked] = self._kelly_of(window, least)
        return self._kelly[asked]

    def _kelly_of(self, window: int, least: int) -> Decimal | None:
        gains = [t.gain for t in self.trades[-window:]]
        if len(gains) < max(least, 1):
            return None
        won, lost = [g for g in gains if g > 0], [-g for g in gains if g < 0]
        if not won:
            return Decimal(0)
        share = Decimal(len(won)) / len(gains)
        if not lost:
            return share
        ratio = (sum(won, Decimal(0)) / len(won)) / (sum(lost, Decimal(0)) / len(lost))
        return min(max(share - (1 - share) / ratio, Decimal(0)), Decimal(1))


def _trailing_losses(trades: Sequence[ClosedTrade]) -> int:
    count = 0
    for trade in reversed(trades):
        if not trade.lost:
            break
        count += 1
    return count
