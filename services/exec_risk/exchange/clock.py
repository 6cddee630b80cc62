"""The exchange's clock as this machine knows it, and whether a signature may still be sent.

A request is signed with the wall time of the fenced write that allowed it, told in the
exchange's time. So the exchange itself refuses (-1021) what a frozen leader sends after its lease
went to another. A resync must cure a wrong clock without reviving such a write, hence:

- the signature's moment is never renewed: a resync changes what that moment is called in the
  exchange's time, never the moment itself;
- nothing is sent again once the write is older than recvWindow by this machine's clock;
- while frozen, this machine's clock may have been set (by NTP, or after a suspend), so that an old
  write looks young and a fresh offset would shift it into the present. A wall clock that moved
  against the monotonic one by more than `STEP_MS` is noticed, and what was signed before that is
  refused here: its age cannot be told any more. After a step back the old clock's moments look
  like the new one's, so for one window nothing is sent. The core then writes, fenced, and signs
  anew; what stood in this process for longer than a window by then has been answered or given up.
"""

from __future__ import annotations

from services.kit.clock import Clock
from services.trade.times import from_datetime

STEP_MS = 500


class ExchangeClock:
    """Offset to the exchange's clock, and steps of this machine's own."""

    def __init__(self, clock: Clock, *, window_ms: int) -> None:
        self._clock = clock
        self._window_ms = window_ms
        self.offset_ms = 0
        """The exchange's clock minus this machine's."""
        self._base_ms = self._current_base()
        self._stepped_at: int | None = None
        self._doubtful_until = 0.0

    def wall_ms(self) -> int:
        """Return this machine's wall time."""
        return from_datetime(self._clock.now())

    def exchange_ms(self) -> int:
        """Return the exchange's wall time, as far as it is known."""
        return self.wall_ms() + self.offset_ms

    def measured(self, sent: int, server: int) -> None:
        """Take the exchange's time, asked for at the wall time `sent` and answered now."""
        self.watch()
        self.offset_ms = server - (sent + self.wall_ms()) // 2

    def watch(self) -> None:
        """Notice when the wall clock was set."""
        base = self._current_base()
        if abs(base - self._base_ms) > STEP_MS:
            self._stepped_at = self.wall_ms()
            if base < self._base_ms:
                self._doubtful_until = self._clock.monotonic() + self._window_ms / 1000
        self._base_ms = base

    def age_known(self, signed_at: int) -> bool:
        """Return False when the clock was set since that moment, or may have been."""
        self.watch()
        if signed_at > self.wall_ms() or self._clock.monotonic() < self._doubtful_until:
            return False
        return self._stepped_at is None or signed_at > self._stepped_at

    def left_ms(self, signed_at: int) -> int:
        """Return how much of a signature's window is left by this machine's clock."""
        return signed_at + self._window_ms - self.wall_ms()

    def _current_base(self) -> int:
        return self.wall_ms() - int(self._clock.monotonic() * 1000)
