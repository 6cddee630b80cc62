"""The slow pulse of a term: what is looked at now and then because nobody tells it."""

from __future__ import annotations

from collections.abc import Callable

from services.exec_risk.core.inputs import Tick, VerifyDue
from services.exec_risk.core.trader import Event, Trader
from services.exec_risk.term.limits import TermLimits
from services.exec_risk.term.overdue import Overdue
from services.kit.clock import Clock

_TICK_SECONDS = 0.25


class Pulse:
    """Hands in comparisons that are due, and what is overdue."""

    def __init__(
        self,
        clock: Clock,
        limits: TermLimits,
        *,
        put: Callable[[Event], None],
    ) -> None:
        self._clock = clock
        self._reconcile_every = limits.reconcile_every
        self._put = put
        self._overdue = Overdue(
            clock,
            protection=limits.protection_grace - _TICK_SECONDS,
            exits=limits.exit_deadline,
            lockstep=limits.round_wait_lockstep,
            free=limits.round_wait_free,
        )

    async def run(
        self,
        trader: Callable[[], Trader],
        *,
        ready: Callable[[], bool],
        lockstep: Callable[[], bool],
    ) -> None:
        """Beat until cancelled."""
        verified = self._clock.monotonic()
        while True:
            await self._clock.sleep(_TICK_SECONDS)
            if self._clock.monotonic() - verified >= self._reconcile_every and ready():
                verified = self._clock.monotonic()
                self._put(VerifyDue())
            for event in self._overdue.look(trader(), lockstep=lockstep()):
                self._put(event)
            self._put(Tick())
