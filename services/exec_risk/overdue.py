"""What has waited too long by wall time: positions without a stop, rounds without answers."""

from __future__ import annotations

from services.exec_risk.core.inputs import ProtectionOverdue, RoundTimedOut
from services.exec_risk.core.trader import Trader
from services.kit.clock import Clock


class Overdue:
    """Looks at the core now and then; limits in seconds."""

    def __init__(self, clock: Clock, *, protection: float, lockstep: float, free: float) -> None:
        self._clock = clock
        self._protection = protection
        self._lockstep = lockstep
        self._free = free
        self._naked_since: dict[str, float] = {}
        self._round_since: dict[int, float] = {}

    def look(self, trader: Trader, *, lockstep: bool) -> list[ProtectionOverdue | RoundTimedOut]:
        """Return what is overdue now."""
        return [*self._unprotected(trader), *self._unanswered(trader, lockstep=lockstep)]

    def _unprotected(self, trader: Trader) -> list[ProtectionOverdue]:
        now = self._clock.monotonic()
        naked = [p.position_id for p in trader.unprotected()]
        self._naked_since = {p: self._naked_since.get(p, now) for p in naked}
        late = [p for p, since in self._naked_since.items() if now - since >= self._protection]
        return [ProtectionOverdue(p) for p in late]

    def _unanswered(self, trader: Trader, *, lockstep: bool) -> list[RoundTimedOut]:
        now, time = self._clock.monotonic(), trader.unanswered_round()
        if time is None:
            self._round_since.clear()
            return []
        since = self._round_since.setdefault(time, now)
        if now - since < (self._lockstep if lockstep else self._free):
            return []
        del self._round_since[time]
        return [RoundTimedOut(time)]
