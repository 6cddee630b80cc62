"""One candle from a wrong time must not move the market's time.

Whatever is older than the newest candle by more than a signal lives is stale, so a single candle
of next year would silence all symbols of its venue. A leap in time is believed when a second
candle confirms it: after an outage every symbol leaps, after an error only one does.
"""

from __future__ import annotations

from services.trade.candle import Candle
from services.trade.times import timeframe_ms

FAR_BARS = 30
"""Bars of its own timeframe by which a candle may be ahead of all others without confirmation."""


class MarketTime:
    """Holds candles back that are alone in the future."""

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}
        self._held: dict[str, list[Candle]] = {}

    def take(self, candle: Candle) -> list[Candle]:
        """Return the candles to believe now: this one, none, or this one and the one it confirms.

        ValueError when its timeframe is unknown.
        """
        venue, closes = candle.venue, candle.close_time
        near = FAR_BARS * timeframe_ms(candle.timeframe)
        newest = self._newest.get(venue)
        if newest is None or closes <= newest + near:
            self._newest[venue] = max(closes, newest or 0)
            return [candle]
        held = self._held.get(venue, [])
        if any(other.key == candle.key for other in held):
            return []
        confirming = [c for c in held if abs(c.close_time - closes) <= near]
        if not confirming:
            self._held[venue] = [candle]
            return []
        del self._held[venue]
        believed = [*confirming, candle]
        self._newest[venue] = max(c.close_time for c in believed)
        return believed
