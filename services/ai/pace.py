"""How fast market time runs: candles come once a minute or a hundred times a second."""

from __future__ import annotations

from collections import deque
from statistics import median

_SAMPLES = 12


class MarketPace:
    """Market milliseconds a second, seen over the last samples."""

    def __init__(self) -> None:
        self._rates: deque[float] = deque(maxlen=_SAMPLES)
        self._last: tuple[float, int] | None = None

    def sample(self, seconds: float, newest_close: int) -> None:
        """Take the newest close as it is at a monotonic time."""
        if self._last is not None and seconds > self._last[0]:
            moved = newest_close - self._last[1]
            self._rates.append(moved / (seconds - self._last[0]))
        self._last = (seconds, newest_close)

    @property
    def rate(self) -> float:
        """The median, so that one gap in the market counts for nothing; 0 before two samples."""
        return median(self._rates) if self._rates else 0.0
