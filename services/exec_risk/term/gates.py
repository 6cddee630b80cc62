"""The switches of a process, joined with what its term sees itself."""

from __future__ import annotations

from collections.abc import Callable

from services.exec_risk.core.policy import Gates
from services.exec_risk.seams import Exchange
from services.exec_risk.term.guarded_core import GuardedCore
from services.exec_risk.term.keeper import Keeper
from services.exec_risk.term.pace import Pace


class TermGates:
    """What stops entries now. In lockstep the market waits for whoever is away."""

    def __init__(
        self,
        process: Callable[[], Gates],
        *,
        keeper: Keeper,
        pace: Pace,
        exchange: Exchange,
        core: GuardedCore,
    ) -> None:
        self._process = process
        self._keeper, self._pace = keeper, pace
        self._exchange, self._core = exchange, core
        self._made_of: tuple[object, ...] = ()
        self._made = Gates()

    def now(self) -> Gates:
        """Return the gates; the same ones while nothing has changed, since they are often asked."""
        process, waits = self._process(), self._pace.lockstep
        # the exchange's own word may wait behind events whose rest is asked for in vain
        store, exchange = self._keeper.away, self._exchange.connected
        seen = (process, waits, store, exchange, self._core.faults.reason)
        if seen != self._made_of:
            self._made_of = seen
            self._made = Gates(
                draining=process.draining,
                maintenance=process.maintenance,
                store_away=store and not waits,
                exchange_away=not (exchange or waits),
                policy_away=process.policy_away and not waits,
                core_error=self._core.faults.reason,
            )
        return self._made
