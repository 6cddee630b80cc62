"""A rolling restart: one replica at a time, while the others do its work.

A service of which one replica runs gets a spare for the time of it, so that calls have somewhere
to go and the leader of the account has a standby that takes over when it stops.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from services.catalog.processes import process
from services.ctl.supervisor.home import Refused
from services.ctl.supervisor.supervisor import READY_SECONDS, Supervisor
from services.ctl.supervisor.topology import SCALABLE
from services.ctl.supervisor.unit import Unit
from services.ctl.supervisor.watch import State, Watch

ORDER = ("analytics", "ai", "exec_risk")
"""The guide's order: who trades comes last, when all that it hears from is well."""
SETTLE_SECONDS = 2.0
"""Time in which the proxies' health checks find a replica that came back."""
POLL_SECONDS = 0.1


class Roll:
    """One rolling restart of some services."""

    def __init__(self, supervisor: Supervisor, services: Sequence[str]) -> None:
        """`services` by key; none means all that run and can be scaled. Refused for any other."""
        unknown = [key for key in services if key not in SCALABLE]
        if unknown:
            raise Refused(
                f"{', '.join(unknown)} cannot be restarted one by one;"
                f" {', '.join(ORDER)} can, `qt restart {unknown[0]}` restarts it at once"
            )
        absent = [key for key in services if key not in supervisor.chosen]
        if absent:
            raise Refused(f"{absent[0]} does not run here: `qt up {absent[0]}` starts it")
        wanted = services or [key for key in ORDER if key in supervisor.chosen]
        self._supervisor = supervisor
        self._services = [key for key in ORDER if key in wanted]

    async def run(self) -> AsyncIterator[str]:
        """Restart them, telling each step; Refused when one does not come back: the rest stays."""
        async with self._supervisor.change("a rolling restart"):
            for key in self._services:
                async for step in self._service(key):
                    yield step

    async def _service(self, key: str) -> AsyncIterator[str]:
        watches = [w for w in self._supervisor.watches.values() if w.unit.service == key]
        spare: Unit | None = None
        if len(watches) == 1:
            # without a process to hand over to there would be nobody who answers or trades
            spare = self._supervisor.topology.service(process(key), 2, 2)
            yield f"{spare.name} starts as a spare"
            await self._supervisor.add([spare])
            await self._until_ready(self._supervisor.watches[spare.name])
            self._supervisor.tell_endpoints(spare)
            await self._settle()
            yield f"{spare.name} is ready"
        try:
            for watch in watches:
                yield f"{watch.unit.name} restarts"
                await self._restart(watch)
                yield f"{watch.unit.name} is ready"
        finally:
            if spare is not None:
                self._supervisor.tell_endpoints()
                await self._supervisor.remove(spare.name)
        if spare is not None:
            yield f"{spare.name} is gone again"

    async def _restart(self, watch: Watch) -> None:
        before = watch.restarts
        watch.restart()
        while watch.restarts == before:
            self._check(watch)
            await asyncio.sleep(POLL_SECONDS)
        await self._until_ready(watch)
        await self._settle()

    async def _until_ready(self, watch: Watch) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while watch.state is not State.READY:
            self._check(watch)
            if time.monotonic() > deadline:
                raise Refused(
                    f"{watch.unit.name} is not ready after {READY_SECONDS:.0f} s"
                    f" ({watch.reason or watch.state}): the others were left as they are"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def _settle(self) -> None:
        await asyncio.sleep(SETTLE_SECONDS)

    def _check(self, watch: Watch) -> None:
        if watch.failed:
            raise Refused(
                f"{watch.unit.name} did not start again: {watch.reason};"
                " the others were left as they are"
            )
        if self._supervisor.phase != "running":
            raise Refused("the system stops: the rolling restart ends here")
