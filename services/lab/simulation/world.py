"""One simulated run: the parts of the world put together, and how its time goes on."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core.inputs import Command
from services.lab.simulation import books
from services.lab.simulation.bus import SimulatedBus
from services.lab.simulation.desk import OrderDesk
from services.lab.simulation.ground import Ground
from services.lab.simulation.invariants import Broken
from services.lab.simulation.ledger import Ledger
from services.lab.simulation.plan import Failure, Outcome, Pace, RunPlan
from services.lab.simulation.processes import Processes
from services.lab.simulation.replicas import Replicas
from services.lab.simulation.streams import Streams
from services.lab.simulation.troubles import Troubles
from services.lab.simulation.virtual_loop import Spinning, Stopped
from services.lab.simulation.watch import GLANCE_SECONDS, ProtectionWatch
from services.lab.simulation.witness import CommitWitness
from services.venue.core.steps import Step, steps_of_round

QUIET_ROUNDS = 4
"""Rounds at the end without faults, in which everything settles."""
PATIENCE = 240.0
"""Virtual seconds after which a point that nobody answers is a failure."""
_HEARD = 0.8
"""Share of the notifications that arrive; without one a replica looks once a second."""
_STILL_STEPS = 40
_QUICKEST, _USUAL, _SLOWEST = 0.1, 0.4, 1.0
"""Virtual seconds between two points of a market that waits for nobody."""


class World:
    """Market, venue, database, bus, ledger, clocks and replicas of one run."""

    def __init__(
        self,
        plan: RunPlan,
        *,
        keep_lines: int = 400,
        processes: Callable[..., Processes] = Processes,
    ) -> None:
        ground = self.ground = Ground(plan, keep_lines=keep_lines)
        self.plan, self.loop, self.faults = plan, ground.loop, ground.faults
        self.venue, self.rows, self.market = ground.venue, ground.rows, ground.market
        self.ledger = Ledger()
        self.replicas = Replicas(self.rows)
        self.troubles = Troubles(self.loop, self.replicas, self.market.symbols)
        self.bus = SimulatedBus(ground, self.replicas)
        self.streams = Streams(ground, self.replicas)
        self.desk = OrderDesk(ground, self.replicas, self.streams, self.troubles)
        self.disk = Path(tempfile.gettempdir()) / f"simulated-{os.getpid()}-{plan.seed}"
        """Where a replica keeps what outlives it when the database is away."""
        self.processes = processes(
            ground,
            self.replicas,
            desk=self.desk,
            witness=CommitWitness(ground, self.replicas, self.bus, self.ledger),
            bus=self.bus,
            streams=self.streams,
            disk=self.disk,
        )
        self.watch = self.processes.watch = ProtectionWatch(
            self.venue,
            self.replicas.ready,
            lambda: self.processes.standby_at_loss,
            self.troubles.hold,
        )
        self.asked: dict[str, float] = {}
        """Requests that must be answered in the end."""
        self._compared = (-1, -1)

    def run(self) -> Outcome:
        """Run to the end, or to the first invariant that does not hold."""
        outcome, ground = Outcome(self.plan), self.ground
        try:
            self.loop.run_until_complete(self._live())
        except Broken as broken:
            outcome.failure = Failure(broken.name, broken.detail, self.loop.time(), self.venue.time)
        except (Spinning, Stopped, ArithmeticError, LookupError, TypeError, ValueError) as error:
            ground.tell("BROKEN", repr(error))
            detail = f"{type(error).__name__}: {error}"
            outcome.failure = Failure("runs", detail, self.loop.time(), self.venue.time)
        finally:
            self._bury()
            shutil.rmtree(self.disk, ignore_errors=True)
        ground.counts["rounds"] = self.venue.number // 4
        ground.counts["fills"] = len(self.venue.fills)
        ground.counts["orders"] = sum(self.venue.accepted.values())
        ground.counts["terms"] = self.rows.token
        ground.counts["take-overs"] = self.rows.taken_over
        outcome.counts = ground.counts
        outcome.digest = ground.story.digest
        outcome.lines = tuple(ground.story.lines)
        outcome.virtual_seconds = self.loop.time()
        return outcome

    async def _live(self) -> None:
        from services.lab.simulation.mischief import Mischief

        mischief = Mischief(self)
        for name in "ab"[: self.plan.replicas]:
            self.processes.start(name, 0)
        self._glance()
        interval = self.market.interval
        rounds = max(int(self.plan.hours * 3_600_000) // interval, QUIET_ROUNDS + 2)
        for index in range(rounds):
            if index == rounds - QUIET_ROUNDS:
                await mischief.end()
            for step in steps_of_round(index, self.market.round(index)):
                await self._pass_time()
                self._move(Step(self.venue.number + 1, step.time, step.points, step.closed))
                mischief.at_point(closing=bool(step.closed))
        await self._settle()

    async def _pass_time(self) -> None:
        """Wait until the venue may move on."""
        if self.plan.pace is not Pace.LOCKSTEP:
            dice = self.faults.dice
            longest = _SLOWEST if dice.random() < 0.3 else _USUAL
            await self.loop.pause(dice.uniform(_QUICKEST, longest))
            return
        begun, point = self.loop.time(), self.streams.point
        while point is not None and self.desk.idle < point.number:
            self.desk.idle_heard.clear()
            try:
                async with asyncio.timeout(1.0):
                    await self.desk.idle_heard.wait()
            except TimeoutError:
                if self.loop.time() - begun > PATIENCE:
                    text = f"point {point.number} is not answered"
                    self.ground.broken("point_answered", text)
        if point is not None and self.troubles.none():
            self._compare()

    def _compare(self) -> None:
        """Compare fills and positions; fills are only ever added, so their number tells of new."""
        fills = len(self.venue.fills), len(self.rows.fills)
        if fills != self._compared:
            self.ground.must("fills_equal", books.fills_equal(self.venue, self.rows))
            self._compared = fills
        else:
            self.ground.must("fills_equal", books.positions_equal(self.venue, self.rows))

    def _move(self, step: Step) -> None:
        events, streams = self.venue.step(step), self.streams
        streams.closed = list(step.closed)
        if self.plan.pace is not Pace.EXCHANGE:
            streams.point = ex.PointReached(
                step.number,
                step.time,
                tuple(c.symbol for c in step.closed),
                lockstep=self.plan.pace is Pace.LOCKSTEP,
            )
        if step.closed:
            marks = " ".join(f"{c.symbol} {c.close}" for c in step.closed)
            self.ground.tell("venue", f"round closes: {marks}")
        streams.publish(events, streams.closed, streams.point)

    async def _settle(self) -> None:
        """Let everything come to rest, then compare the three books."""
        venue, rows, streams = self.venue, self.rows, self.streams
        for _ in range(_STILL_STEPS):
            await self._pass_time()
            await self.loop.pause(1.0)
            if books.settled(venue, rows) is None and self._books_equal():
                break
            # what waits for the next price gets one, where the last one was
            events = venue.still(1000)
            if streams.point is not None:
                streams.point = replace(
                    streams.point, number=venue.number, time=venue.time, closed_symbols=()
                )
            streams.publish(events, (), streams.point)
        must = self.ground.must
        must("fills_equal", books.fills_equal(venue, rows))
        must("wallet_conserved", books.wallet_conserved(venue))
        must("wallet_equal", books.wallet_equal(venue, rows))
        must("ledger_equal", books.ledger_equal(venue, self.ledger))
        must("settled", books.settled(venue, rows))
        must("latched_flat", books.latched_flat(venue, rows))
        must("answered", books.answered(rows, self.asked))

    def _books_equal(self) -> bool:
        venue, rows = self.venue, self.rows
        found = books.fills_equal(venue, rows) or books.wallet_equal(venue, rows)
        return (found or books.ledger_equal(venue, self.ledger)) is None

    def _bury(self) -> None:
        """End what is left of all tasks, so that nothing of this run outlives it."""
        self.processes.running = False
        self.loop.broken = None
        for replica in self.replicas:
            replica.kill()
        left = asyncio.all_tasks(self.loop)
        if not left:
            return

        async def bury() -> None:
            for task in left:
                task.cancel()
            for owner in list(self.loop.owners_parked()):
                self.loop.unpark(owner)
            for _ in range(50):
                await asyncio.sleep(0)
                if all(task.done() for task in left):
                    break
            await asyncio.wait(left, timeout=60)

        self.loop.run_until_complete(bury())

    def ask(self, command: Command) -> None:
        """Write an operator's request; who listens is told, if the word is not lost."""
        network = self.ground.network
        self.rows.requests[command.request_id] = (command, self.loop.time())
        for replica in self.replicas:
            if self.faults.dice.random() < _HEARD:
                network.later(network.hop(), replica.bell.ring)

    def _glance(self) -> None:
        if not self.processes.running:
            return
        self.ground.must("protected", self.watch.look())
        self.processes.look()
        self.ground.network.later(GLANCE_SECONDS, self._glance)
