"""The fund's layers, round by round, in the one replica that holds their lease.

A round is decided before it is answered: in lockstep the market waits for the answer, so that a
policy or directive is on its way before the next round, in every run alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.analytics.core.fund.rounds import FundLimits, decide
from services.analytics.fund import rebalance_requests
from services.analytics.fund import store as fund_store
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.policy.store import PolicyStore
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.kit.postgres.db import TRANSIENT, Database
from services.kit.postgres.lease import Fenced, Lease

log = get_logger(__name__)

_PAUSE_SECONDS = 0.02


class FundLoop:
    """Decides rounds; `after` waits until one is decided, by whichever replica."""

    def __init__(
        self,
        *,
        database: Database,
        lease: Lease,
        policies: PolicyStore,
        limits: FundLimits,
        health: Callable[[], int],
        changed: Callable[[], None],
        metrics: AnalyticsMetrics,
        clock: Clock,
        wait_seconds: float = 2.0,
    ) -> None:
        """`health`: of the system, 0 to 100; `changed` is called after a version was made."""
        self._database = database
        self._lease = lease
        self._policies = policies
        self._limits = limits
        self._health = health
        self._changed = changed
        self._metrics = metrics
        self._clock = clock
        self._wait = wait_seconds
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Hold the lease whenever it is free, for ever."""
        while True:
            await self._lease.wait()
            lost = asyncio.Event()
            await self._lease.keep(lost.set)

    async def after(self, account: str, time: int) -> None:
        """Return when a round is decided, or after a while: analytics must not hold up the market.

        What goes wrong is told and leaves the round undecided: entries keep to the policy as it is.
        """
        until = self._clock.monotonic() + self._wait
        try:
            while self._clock.monotonic() < until:
                if self._lease.held:
                    async with self._turn:
                        await self.decide(account, time)
                    return
                if await self._decided(account) >= time:
                    return
                await self._clock.sleep(_PAUSE_SECONDS)
        except Fenced:
            log.warning("fund_lease_lost", account=account, round=time)
        except TRANSIENT as error:
            self._metrics.errors.labels("fund").inc()
            log.warning("fund_round_not_decided", round=time, error=repr(error))
        except Exception:
            # a defect in a rule or in what is stored: the market does not stand still for it
            self._metrics.errors.labels("fund").inc()
            log.exception("fund_round_failed", account=account, round=time)

    async def decide(self, account: str, time: int) -> None:
        """Decide a round once: everything that follows from it is written in one transaction."""
        newest = await self._policies.version()
        async with self._database.transaction() as connection:
            await self._lease.fence(connection)
            kept = await fund_store.load(connection, account)
            if time <= kept.round_time:
                return
            view = await fund_store.view_of(
                connection, account, time, health=self._health(), memory=kept.memory
            )
            if view is None:
                return
            asked = await rebalance_requests.take(connection, account, time)
            # the newest, also when it begins only now: what was decided is not decided again
            policy = newest.policy
            decision = decide(view, kept.memory, policy, self._limits, asked=bool(asked))
            await fund_store.keep(connection, view, decision, asked)
            if decision.mode is not None:
                await self._policies.update(
                    {"fund_mode": decision.mode.mode},
                    by="HFOS",
                    reasons=decision.mode.reasons,
                    connection=connection,
                )
        if decision.mode is not None:
            self._changed()
            log.warning("fund_mode_changed", mode=decision.mode.mode, why=decision.mode.reasons)
        for directive in decision.directives:
            log.info(
                "directive_issued",
                directive_id=directive.directive_id,
                layer=directive.layer,
                action=directive.action,
                symbol=directive.symbol,
            )

    async def _decided(self, account: str) -> int:
        return await fund_store.decided(self._database.pool, account)
