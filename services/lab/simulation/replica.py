"""One replica of exec_risk: its real shell on simulated seams, which can be killed and frozen."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from services.exec_risk.core.effects import Effect
from services.exec_risk.core.policy import Gates, Policy
from services.exec_risk.term.leader import Leader
from services.exec_risk.term.sender import SenderLimits
from services.exec_risk.term.term import Term, TermLimits
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Lease
from services.kit.postgres.notify import Bell
from services.lab.simulation.exchange import SimulatedExchange
from services.lab.simulation.replica_clock import ReplicaClock
from services.lab.simulation.store import LeaseRow, MemoryStore
from services.lab.simulation.virtual_loop import OWNER, VirtualLoop
from services.trade.candle import Candle

LEASE_SECONDS = 2.0
LIMITS = TermLimits(
    observed_wait=1.0,
    deposed_after=LEASE_SECONDS / 2,
    round_wait_lockstep=5.0,
    history_candles=3,
    sender=SenderLimits(timeout_seconds=6.0),
)
_FALLBACK_SECONDS = 1.0


@dataclass(slots=True)
class BusCandles:
    """The seam `CandleSink`: the world takes the candles, or is away."""

    take: Callable[[Sequence[Candle], bool], Any]

    async def publish(self, candles: Sequence[Candle], *, history: bool) -> None:
        """Publish candles."""
        await self.take(candles, history)


class Replica:
    """A process: its memory begins with `start` and ends with `kill`."""

    def __init__(self, name: str, generation: int, loop: VirtualLoop) -> None:
        self.name = name
        self.owner = f"{name}{generation}"
        self.loop = loop
        self.alive = True
        self.frozen = False
        self.stream_at = 0.0
        """Virtual time at which the last message that is on its way arrives."""
        self.bell = Bell("main", _FALLBACK_SECONDS)
        """Rung when an operator has written a request."""
        self.gates = Gates()
        self.decided_without_store: set[str] = set()
        """Client order ids of entries that were decided while the store was away."""
        self.gates_since = 0.0
        self.awake_since = 0.0
        """Virtual time since which it runs without having been frozen."""
        self.tasks: list[asyncio.Task[None]] = []
        self.clock: ReplicaClock
        self.lease: Lease
        self.exchange: SimulatedExchange
        self.leader: Leader

    def wire(
        self,
        *,
        disk: Path,
        policy: Policy,
        clock: ReplicaClock,
        lease_row: LeaseRow,
        exchange: SimulatedExchange,
        store: Callable[[Lease], MemoryStore],
        candles: BusCandles,
        on_effects: Callable[[list[Effect]], None],
    ) -> None:
        """Put the real shell together as `app.build` does."""
        self.clock, self.exchange = clock, exchange
        self.lease = Lease(
            cast("Database", lease_row),
            "account.main",
            self.owner,
            clock,
            ttl=LEASE_SECONDS,
            outlasts=True,
        )
        kept = store(self.lease)

        def new_term() -> Term:
            return Term(
                policy=policy,
                exchange=exchange,
                store=kept,
                candles=candles,
                clock=clock,
                limits=replace(LIMITS, latch_file=disk / self.name / "latch"),
                gates=lambda: self.gates,
                on_effects=on_effects,
                asked=self.bell.wait,
            )

        self.leader = Leader(exchange=exchange, lease=self.lease, new_term=new_term)

    def start(self) -> None:
        """Begin to listen and to wait for the lease."""
        context = contextvars.Context()
        context.run(OWNER.set, self.owner)
        self.tasks = [
            self.loop.create_task(self.leader.listen(), context=context),
            self.loop.create_task(self.leader.run(), context=context),
        ]

    def kill(self) -> None:
        """Stop at this very await, for ever."""
        self.alive = False
        self.loop.park(self.owner)

    @property
    def leading(self) -> bool:
        """True while it runs and holds a term."""
        return self.alive and not self.frozen and self.leader.term is not None

    @property
    def ready(self) -> bool:
        """True while it leads and has everything reconciled."""
        term = self.leader.term
        return self.leading and term is not None and term.ready
