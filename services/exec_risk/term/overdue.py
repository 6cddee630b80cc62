"""What has waited too long by wall time: stops, exits, answers of a round."""

from __future__ import annotations

from services.exec_risk.core.inputs import ExitOverdue, ProtectionOverdue, RoundTimedOut
from services.exec_risk.core.trader import Trader
from services.kit.clock import Clock


class Overdue:
    """Looks at the core now and then; limits in seconds."""

    def __init__(
        self,
        clock: Clock,
        *,
        protection: float,
        exits: float,
        lockstep: float,
        free: float,
    ) -> None:
        self._clock = clock
        self._exits = exits
        self._leaving_since: dict[str, float] = {}
        self._protection = protection
        self._lockstep = lockstep
        self._free = free
        self._naked_since: dict[str, float] = {}
        self._round_since: dict[int, float] = {}

    def look(
        self, trader: Trader, *, lockstep: bool
    ) -> list[ProtectionOverdue | ExitOverdue | RoundTimedOut]:
        """Return what is overdue now."""
        return [
            *self._unprotected(trader),
            *self._leaving(trader, lockstep=lockstep),
            *self._unanswered(trader, lockstep=lockstep),
        ]

    def _unprotected(self, trader: Trader) -> list[ProtectionOverdue]:
        now = self._clock.monotonic()
        naked = [p.position_id for p in trader.unprotected()]
        self._naked_since = {p: self._naked_since.get(p, now) for p in naked}
        late = [p for p, since in self._naked_since.items() if now - since >= self._protection]
        return [ProtectionOverdue(p) for p in late]

    def _leaving(self, trader: Trader, *, lockstep: bool) -> list[ExitOverdue]:
        """Name the exits that have not ended, once in each deadline.

        In lockstep the market waits for the round's answers too, so an exit has their time besides.
        """
        now = self._clock.monotonic()
        leaving = [p.position_id for p in trader.leaving()]
        self._leaving_since = {p: self._leaving_since.get(p, now) for p in leaving}
        deadline = self._exits + (self._lockstep if lockstep else 0)
        late = [p for p, since in self._leaving_since.items() if now - since >= deadline]
        self._leaving_since |= dict.fromkeys(late, now)
        return [ExitOverdue(p) for p in late]

    def _unanswered(self, trader: Trader, *, lockstep: bool) -> list[RoundTimedOut]:
        """Name the rounds that have waited for too long, each by its own time.

        When nobody answers any more, rounds come faster than one after the other could be given up,
        and with them the exits that fall due.
        """
        now, times = self._clock.monotonic(), trader.unanswered_rounds()
        self._round_since = {t: self._round_since.get(t, now) for t in times}
        patience = self._lockstep if lockstep else self._free
        return [RoundTimedOut(t) for t, s in self._round_since.items() if now - s >= patience]
