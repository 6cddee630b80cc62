"""What the venue needs of a market."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol

from services.trade.candle import Candle
from services.venue.core.rules import SymbolRules

HISTORY = 500
"""Closed candles that exist before the market starts."""
VENUE = "paper"
"""Name of the venue in candles."""


class Market(Protocol):
    """Candles of several symbols on one timeframe, a pure function of (symbol, time)."""

    @property
    def name(self) -> str:
        """What it is, as the operator asked for it."""
        ...

    @property
    def timeframe(self) -> str:
        """Timeframe of its candles, for example `1m`."""
        ...

    @property
    def start(self) -> int:
        """Market time at which the first round opens; history lies before."""
        ...

    @property
    def symbols(self) -> Mapping[str, SymbolRules]:
        """Every symbol that trades at some time."""
        ...

    def trades_from(self, symbol: str) -> int:
        """Return the open time of a symbol's first round."""
        ...

    def round(self, index: int) -> dict[str, Candle] | None:
        """Return the candles of a round by symbol; None after the end."""
        ...

    def candle(self, symbol: str, open_time: int) -> Candle | None:
        """Return the candle that opens at a time; None when there is none."""
        ...

    def history_from(self, symbol: str) -> int:
        """Return the open time of the first candle that the venue shows."""
        ...

    def funding_rate(self, symbol: str, time: int) -> Decimal:
        """Return the funding rate that is paid at a market time."""
        ...
