"""Measures in virtual wall time how long a position is without a stop, against its grace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from services.lab.simulation.venue import Venue

GLANCE_SECONDS = 0.2
LED_GRACE = 2.45
"""2 s under a living leader, its pulse of 0.25 s and a glance of ours."""
TAKE_OVER_GRACE = 4.5 + 0.2
RESTART_GRACE = 8.0 + 0.2


@dataclass(slots=True)
class Naked:
    """How long a symbol's position has been without protection."""

    led: float = 0.0
    leaderless: float = 0.0


@dataclass(slots=True)
class ProtectionWatch:
    """Looks five times a second.

    What a fault holds up is not counted: while the exchange or the store is away, while a request
    of the symbol hangs or was just lost, or what the exchange tells is on its way, the clock
    starts again. Everything else is the system's own time.
    """

    venue: Venue
    ready: Callable[[], bool]
    """True while a replica leads and has begun its work."""
    standby: Callable[[], bool]
    """True when another replica could take over at the moment the leader went."""
    troubled: Callable[[str], bool]
    """True while a fault holds up what concerns a symbol."""
    clocks: dict[str, Naked] = field(default_factory=dict)
    longest_led: float = 0.0
    longest_leaderless: float = 0.0

    def leader_lost(self) -> None:
        """Begin the grace of a take-over anew: one that had just begun to lead died, too."""
        for clock in self.clocks.values():
            clock.leaderless = 0.0

    def look(self) -> str | None:
        """Return the sentence of what is wrong."""
        for symbol in self.venue.market.symbols:
            problem = self._look_at(symbol)
            if problem is not None:
                return problem
        return None

    def _look_at(self, symbol: str) -> str | None:
        held = abs(self.venue.held(symbol))
        if not held or self.venue.stopped(symbol) >= held or self.troubled(symbol):
            self.clocks.pop(symbol, None)
            return None
        clock = self.clocks.setdefault(symbol, Naked())
        if self.ready():
            clock.led += GLANCE_SECONDS
            clock.leaderless = 0.0
        else:
            clock.leaderless += GLANCE_SECONDS
            clock.led = 0.0
        self.longest_led = max(self.longest_led, clock.led)
        self.longest_leaderless = max(self.longest_leaderless, clock.leaderless)
        if clock.led > LED_GRACE:
            return f"{symbol}: {held} without a stop for {clock.led:.1f} s under a leader"
        grace = TAKE_OVER_GRACE if self.standby() else RESTART_GRACE
        if clock.leaderless > grace:
            return f"{symbol}: {held} without a stop for {clock.leaderless:.1f} s, grace {grace} s"
        return None
