"""Tells when a process is started again and again. Pure; times are monotonic seconds."""

from __future__ import annotations

from collections import deque

LOOP_RESTARTS = 5
"""So many restarts that nobody asked for within LOOP_SECONDS are a loop."""
LOOP_SECONDS = 300.0


class RestartLoop:
    """Counts the restarts of one process."""

    def __init__(self) -> None:
        """Nothing was restarted yet."""
        self._times: deque[float] = deque(maxlen=1_000)
        self._last = ""

    def restarted(self, now: float, reason: str) -> None:
        """Take note of a restart that nobody asked for."""
        self._times.append(now)
        self._last = reason

    def forgive(self) -> None:
        """Begin anew: a person has looked at it and asked for a restart."""
        self._times.clear()

    def alert(self, now: float) -> str:
        """Return the line to tell; empty while it is no loop, and again once it is quiet."""
        recent = sum(now - time <= LOOP_SECONDS for time in self._times)
        if recent < LOOP_RESTARTS:
            return ""
        return f"restart loop: {recent} restarts in {LOOP_SECONDS:.0f} s, last: {self._last}"
