"""One candle from a wrong time must not move the market's time.

Whatever is older than the newest candle by more than a signal lives is stale, so a single candle
of next year would silence all symbols of its venue. A leap in time is believed when a second
candle confirms it: after an outage every symbol leaps, after an error only one does.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.trade.candle import Candle
from services.trade.times import timeframe_ms

FAR_BARS = 30
"""Bars of its own timeframe by which a candle may be ahead of all others without confirmation."""


class MarketTime:
    """Holds candles back that are alone in the future."""

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}
        self._held: dict[str, list[Candle]] = {}

    def take(self, candles: Sequence[Candle]) -> list[Candle]:
        """Return which to believe now of candles of one venue and timeframe that closed together.

        All of them or, when they are far ahead, those that are confirmed with those that they
        confirm. ValueError when the timeframe is unknown.
        """
        first = candles[0]
        closes, near = first.close_time, FAR_BARS * timeframe_ms(first.timeframe)
        newest = self._newest.get(first.venue)
        if newest is None or closes <= newest + near:
            self._newest[first.venue] = max(closes, newest or 0)
            return list(candles)
        if len(candles) > 1:
            return [believed for candle in candles for believed in self.take([candle])]
        return self._confirmed(first, near)

    def _confirmed(self, candle: Candle, near: int) -> list[Candle]:
        """Return a candle of the future with the one that it confirms; none when it is alone."""
        venue, closes = candle.venue, candle.close_time
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
