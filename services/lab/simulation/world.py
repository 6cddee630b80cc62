"""One simulated run: the world around the replicas, and what is checked of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from services.exec_risk.core import effects as fx
from services.exec_risk.core import exchange_events as ex
from services.exec_risk.core.inputs import Command, PredictionsArrived
from services.lab.simulation import invariants as must
from services.lab.simulation.exchange import ReplicaClock, SimulatedExchange
from services.lab.simulation.faults import Fault, Faults
from services.lab.simulation.ledger import Ledger, facts_of
from services.lab.simulation.market import SimulatedMarket
from services.lab.simulation.network import Network
from services.lab.simulation.plan import Failure, Outcome, Pace, RunPlan
from services.lab.simulation.replica import BusCandles, Replica
from services.lab.simulation.reports import user_events
from services.lab.simulation.script import Script
from services.lab.simulation.store import LeaseRow, MemoryStore, Rows
from services.lab.simulation.story import Story
from services.lab.simulation.venue import Venue
from services.lab.simulation.virtual_loop import Spinning, Stopped, new_loop
from services.lab.simulation.watch import GLANCE_SECONDS, ProtectionWatch
from services.trade.candle import Candle
from services.trade.order import Order, OrderPurpose
from services.venue.core.events import VenueEvent
from services.venue.core.steps import Step, steps_of_round

QUIET_ROUNDS = 4
"""Rounds at the end without faults, in which everything settles."""
PATIENCE = 240.0
"""Virtual seconds after which a point that nobody answers is a failure."""
_RECENT_ANSWERS = 8
_HEARD = 0.8
"""Share of the notifications that arrive; without one a replica looks once a second."""
_STILL_STEPS = 40
_QUICKEST, _USUAL, _SLOWEST = 0.1, 0.4, 1.0
"""Virtual seconds between two points of a market that waits for nobody."""


class World:
    """Market, venue, database, bus, ledger, clocks and replicas of one run."""

    def __init__(self, plan: RunPlan, *, keep_lines: int = 400) -> None:
        self.plan = plan
        self.policy = plan.policy()
        self.loop = new_loop()
        self.faults = Faults(plan.seed, plan.off)
        self.story = Story(keep_lines)
        self.counts = self.faults.counts
        self.network = Network(self.loop, self.faults.dice)
        self.market = SimulatedMarket(self.faults, plan.symbols, plan.timeframe)
        self.venue = Venue(self.market, plan.seed, self.policy.account)
        self.rows = Rows()
        self.ledger = Ledger()
        self.script = Script(plan.seed, self.market.symbols)
        self.replicas: dict[str, Replica] = {}
        self.disk = Path(tempfile.gettempdir()) / f"simulated-{os.getpid()}-{plan.seed}"
        """Where a replica keeps what outlives it when the database is away."""
        self.placed: dict[str, dict[str, Order]] = {}
        """What was sent, by position and client order id."""
        self.venue_away_until = [0.0]
        self.bus_away_until = 0.0
        self.troubled_until: dict[str, float] = {}
        self.asked: dict[str, float] = {}
        self.standby_at_loss = False
        self.running = True
        self._exits: dict[str, int] = {}
        """Exits whose sender waits for the answer, by symbol."""
        self._point: ex.PointReached | None = None
        self._closed: list[Candle] = []
        self._idle = -1
        self._idle_heard = asyncio.Event()
        self._answers: deque[PredictionsArrived] = deque(maxlen=_RECENT_ANSWERS)
        self._asked_candles: set[str] = set()
        self._told: set[str] = set()
        self._still_due = False
        self._compared = (-1, -1)
        self.watch = ProtectionWatch(
            self.venue, self.ready, lambda: self.standby_at_loss, self.troubled
        )

    # the run

    def run(self) -> Outcome:
        """Run to the end, or to the first invariant that does not hold."""
        outcome = Outcome(self.plan)
        try:
            self.loop.run_until_complete(self._live())
        except must.Broken as broken:
            outcome.failure = Failure(broken.name, broken.detail, self.loop.time(), self.venue.time)
        except (Spinning, Stopped, ArithmeticError, LookupError, TypeError, ValueError) as error:
            self.tell("BROKEN", repr(error))
            detail = f"{type(error).__name__}: {error}"
            outcome.failure = Failure("runs", detail, self.loop.time(), self.venue.time)
        finally:
            self._bury()
            shutil.rmtree(self.disk, ignore_errors=True)
        self.counts["rounds"] = self.venue.number // 4
        self.counts["fills"] = len(self.venue.fills)
        self.counts["orders"] = sum(self.venue.accepted.values())
        self.counts["terms"] = self.rows.token
        self.counts["take-overs"] = self.rows.taken_over
        outcome.counts = self.counts
        outcome.digest = self.story.digest
        outcome.lines = tuple(self.story.lines)
        outcome.virtual_seconds = self.loop.time()
        return outcome

    async def _live(self) -> None:
        from services.lab.simulation.mischief import Mischief

        mischief = Mischief(self)
        for name in "ab"[: self.plan.replicas]:
            self.start(name, 0)
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
        begun = self.loop.time()
        while self._point is not None and self._idle < self._point.number:
            self._idle_heard.clear()
            try:
                async with asyncio.timeout(1.0):
                    await self._idle_heard.wait()
            except TimeoutError:
                if self.loop.time() - begun > PATIENCE:
                    self.broken("point_answered", f"point {self._point.number} is not answered")
        if self._point is not None and self.untroubled():
            self._compare()

    def _compare(self) -> None:
        """Compare fills and positions; fills are only ever added, so their number tells of new."""
        fills = len(self.venue.fills), len(self.rows.fills)
        if fills != self._compared:
            self._must("fills_equal", must.fills_equal(self.venue, self.rows))
            self._compared = fills
        else:
            self._must("fills_equal", must.positions_equal(self.venue, self.rows))

    def _move(self, step: Step) -> None:
        events = self.venue.step(step)
        self._closed = list(step.closed)
        if self.plan.pace is not Pace.EXCHANGE:
            self._point = ex.PointReached(
                step.number,
                step.time,
                tuple(c.symbol for c in step.closed),
                lockstep=self.plan.pace is Pace.LOCKSTEP,
            )
        if step.closed:
            marks = " ".join(f"{c.symbol} {c.close}" for c in step.closed)
            self.tell("venue", f"round closes: {marks}")
        self.publish(events, self._closed, self._point)

    async def _settle(self) -> None:
        """Let everything come to rest, then compare the three books."""
        for _ in range(_STILL_STEPS):
            await self._pass_time()
            await self.loop.pause(1.0)
            if must.settled(self.venue, self.rows) is None and self._books_equal():
                break
            # what waits for the next price gets one, where the last one was
            events = self.venue.still(1000)
            if self._point is not None:
                self._point = replace(
                    self._point,
                    number=self.venue.number,
                    time=self.venue.time,
                    closed_symbols=(),
                )
            self.publish(events, (), self._point)
        venue, rows = self.venue, self.rows
        self._must("fills_equal", must.fills_equal(venue, rows))
        self._must("wallet_conserved", must.wallet_conserved(venue))
        self._must("wallet_equal", must.wallet_equal(venue, rows))
        self._must("ledger_equal", must.ledger_equal(venue, self.ledger))
        self._must("settled", must.settled(venue, rows))
        self._must("latched_flat", must.latched_flat(venue, rows))
        self._must("answered", must.answered(rows, self.asked))

    def _books_equal(self) -> bool:
        venue, rows = self.venue, self.rows
        found = must.fills_equal(venue, rows) or must.wallet_equal(venue, rows)
        return (found or must.ledger_equal(venue, self.ledger)) is None

    def _bury(self) -> None:
        """End what is left of all tasks, so that nothing of this run outlives it."""
        self.running = False
        self.loop.broken = None
        for replica in self.replicas.values():
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

    # replicas

    def start(self, name: str, generation: int) -> None:
        """Start a process."""
        replica = Replica(name, generation, self.loop)
        clock = ReplicaClock(self.network)
        paper = self.plan.pace is not Pace.EXCHANGE
        exchange = SimulatedExchange(
            replica=name,
            venue=self.venue,
            network=self.network,
            faults=self.faults,
            clock=clock,
            desk=self,
            points=self._current if paper else None,
            away_until=self.venue_away_until,
        )
        replica.wire(
            disk=self.disk,
            policy=self.policy,
            clock=clock,
            lease_row=LeaseRow(self.rows, self.network),
            exchange=exchange,
            store=lambda lease: MemoryStore(
                replica=name,
                rows=self.rows,
                lease=lease,
                network=self.network,
                faults=self.faults,
                witness=self,
            ),
            candles=BusCandles(self._take_candles),
            on_effects=lambda effects: self._note(replica, effects),
        )
        self.replicas[name] = replica
        self.tell(name, f"starts as {replica.owner}")
        replica.start()
        for batch in list(self._answers):
            replica.leader.put(batch)

    def kill(self, name: str, restart_in: float) -> None:
        """SIGKILL a process now; its supervisor starts it again."""
        replica = self.replicas[name]
        if not replica.alive:
            return
        self._note_loss(name)
        replica.kill()
        self.counts["crashes"] += 1
        self.tell(name, f"is killed, restarts in {restart_in:.1f} s")
        generation = int(replica.owner[1:]) + 1
        self.network.later(restart_in, lambda: self._restart(name, generation))

    def _restart(self, name: str, generation: int) -> None:
        if self.running:
            self.start(name, generation)

    def freeze(self, name: str, seconds: float) -> None:
        """SIGSTOP a process now and let it go on later."""
        replica = self.replicas[name]
        if not replica.alive or replica.frozen:
            return
        self._note_loss(name)
        replica.frozen = True
        self.loop.park(replica.owner)
        self.tell(name, f"is frozen for {seconds:.1f} s")

        def go_on() -> None:
            if replica.alive:
                replica.frozen = False
                self.tell(name, "goes on")
                # it has all that came meanwhile still to read
                self.trouble(0.6)
                self.loop.unpark(replica.owner)

        self.network.later(seconds, go_on)

    def _note_loss(self, name: str) -> None:
        if self.replicas[name].leading:
            others = [r for r in self.replicas.values() if r.name != name]
            self.standby_at_loss = any(r.alive and not r.frozen for r in others)
            self.watch.leader_lost()

    def leader(self) -> Replica | None:
        """Return the replica that leads and runs."""
        for replica in self.replicas.values():
            if replica.leading and replica.lease.token == self.rows.token:
                return replica
        return None

    def ready(self) -> bool:
        """True while a replica leads and has begun its work."""
        leader = self.leader()
        return leader is not None and leader.ready

    # what the exchange tells

    def _current(self) -> list[ex.ExchangeEvent]:
        """Return what a new client of the paper venue hears first."""
        up: list[ex.ExchangeEvent] = [ex.StreamStateChanged("user", True, "connected")]
        if self._point is None:
            return up
        return [*up, *(ex.CandleClosed(c) for c in self._closed), self._point]

    def publish(
        self,
        events: Sequence[VenueEvent],
        candles: Sequence[Candle],
        point: ex.PointReached | None,
    ) -> None:
        """Send a step's events to every replica's sockets."""
        told = [e for event in events for e in user_events(event, self.policy.account)]
        for event in told:
            if isinstance(event, ex.FillReport):
                fill = event.fill
                self.tell(
                    "venue",
                    f"fill {fill.client_order_id} {fill.side} {fill.quantity} {fill.symbol}"
                    f" at {fill.price}",
                )
        for replica in self.replicas.values():
            if replica.alive:
                self._stream(replica, told, candles, point)

    def _stream(
        self,
        replica: Replica,
        told: Sequence[ex.ExchangeEvent],
        candles: Sequence[Candle],
        point: ex.PointReached | None,
    ) -> None:
        faults, now, hand = self.faults, self.loop.time(), replica.exchange.hand
        at = max(now + self.network.hop(0.01), replica.stream_at)
        if faults.strikes(Fault.STREAM_DELAYED, 0.05):
            at += faults.stream(Fault.STREAM_DELAYED).uniform(0.1, 3.0)
        user = list(told) if replica.exchange.up else []
        if user and faults.strikes(Fault.STREAM_REORDERED, 0.1):
            faults.stream(Fault.STREAM_REORDERED).shuffle(user)
        batch: list[ex.ExchangeEvent] = [*user, *(ex.CandleClosed(c) for c in candles)]
        if point is not None:
            batch.append(point)
        if user and faults.strikes(Fault.STREAM_DUPLICATED, 0.1):
            again = faults.stream(Fault.STREAM_DUPLICATED).uniform(0.0, 2.0)
            self.network.later(at + again - now, lambda: [hand(e) for e in user])
        replica.stream_at = at
        self.network.later(at - now, lambda: [hand(e) for e in batch])

    def acted(self, milliseconds: int) -> None:
        """On an exchange that never pauses orders take effect at once."""
        if self.plan.pace is not Pace.EXCHANGE or self._still_due:
            return
        self._still_due = True

        def take_effect() -> None:
            self._still_due = False
            self.publish(self.venue.still(1), (), None)

        self.network.later(milliseconds / 1000, take_effect)

    def answered(self, number: int) -> None:
        """A replica has handled everything of a point."""
        self._idle = max(self._idle, number)
        self._idle_heard.set()

    # the bus

    async def _take_candles(self, candles: Sequence[Candle], history: bool) -> None:
        while self.loop.time() < self.bus_away_until:
            await self.loop.pause(0.5)
        await self.network.wait(self.network.hop(0.01))
        for candle in () if history else candles:
            if candle.key not in self._asked_candles:
                self._asked_candles.add(candle.key)
                self._predict(candle)

    def _predict(self, candle: Candle) -> None:
        batch = self.script.answer(candle)
        delay = self.network.hop(0.05)
        if self.faults.strikes(Fault.SIGNAL_LATE, 0.05):
            delay += self.faults.stream(Fault.SIGNAL_LATE).uniform(0.5, 12.0)
        times = 2 if self.faults.strikes(Fault.SIGNAL_REPEATED, 0.1) else 1
        for number in range(times):
            self.network.later(delay + number * 0.3, lambda: self._deliver(batch))

    def _deliver(self, batch: PredictionsArrived) -> None:
        away = self.bus_away_until - self.loop.time()
        if away > 0:
            self.network.later(away, lambda: self._deliver(batch))
            return
        self._answers.append(batch)
        for replica in self.replicas.values():
            if replica.alive:
                replica.leader.put(batch)

    # the store's witness

    def committing(self, replica: str, changes: Sequence[fx.Change]) -> None:
        """Check a commit against the rows before it."""
        overlay = must.Overlay(self.rows.orders, self.rows.open_positions())
        copied = False
        for change in changes:
            if isinstance(change, fx.OrderChanged):
                if not copied:
                    overlay.orders, copied = dict(overlay.orders), True
                self._must("legal_step", must.legal_step(overlay, change))
                self.tell(
                    replica,
                    f"{change.order.client_order_id} {change.order.purpose} {change.order.symbol}"
                    f" {change.previous} -> {change.order.state} ({change.cause})"
                    f" {change.order.reason}",
                )
                if change.previous is None and change.order.purpose is OrderPurpose.ENTRY:
                    self._check_entry(replica, overlay, change.order, changes)
            elif isinstance(change, fx.FillRecorded):
                self._must("no_invented_fill", must.no_invented_fill(self.venue, change))
            elif isinstance(change, fx.ReconcileRepaired):
                self._must("wallet_explained", must.wallet_explained(self.venue, change))
            overlay.take(change)

    def _check_entry(
        self, replica: str, overlay: must.Overlay, order: Order, changes: Sequence[fx.Change]
    ) -> None:
        if order.client_order_id in self.rows.orders:
            return  # the same commit once more
        self.counts["entries"] += 1
        executions = {
            c.execution.execution_id: c.execution
            for c in changes
            if isinstance(c, fx.ExecutionChanged)
        }
        executions = {**self.rows.executions, **executions}
        switches = (fx.TradingStateChanged, fx.EmergencyStopped, fx.EmergencyReset)
        switched = any(isinstance(c, switches) for c in changes)
        if not switched:
            problem = must.entry_allowed(
                replace(self.rows, executions=executions, account=self._account(changes)),
                overlay,
                self.script,
                order,
                self.market.symbols,
            )
            self._must("entry_allowed", problem)
        one = self.replicas[replica]
        if one.gates.draining and self.loop.time() - one.gates_since > 2.0 and not one.frozen:
            self.broken("entry_allowed", f"{order.client_order_id} is decided while draining")
        plans = {c.plan.position_id: c.plan for c in changes if isinstance(c, fx.StorePlan)}
        rows = Rows(plans={**self.rows.plans, **plans}, executions=executions)
        marks = self.venue.engine.state.marks
        problem = must.within_limits(
            self.policy,
            rows,
            overlay,
            order,
            marks,
            decided_before=order.execution_id in self.rows.executions,
        )
        self._must("within_limits", problem)

    def _account(self, changes: Sequence[fx.Change]) -> fx.AccountSnapshot | None:
        """Return the stored account, or the first one that this commit stores."""
        found = (c for c in changes if isinstance(c, fx.AccountSnapshot))
        return self.rows.account or next(found, None)

    def committed(self, replica: str, changes: Sequence[fx.Change]) -> None:
        """Send the facts of a commit to the ledger."""
        del replica
        for name, fact in facts_of(changes, self.policy.account, len(self._told)):
            if name in self._told:
                continue
            self._told.add(name)
            times, delay = 1, 0.01
            if self.faults.strikes(Fault.LEDGER_DISORDER, 0.2):
                dice = self.faults.stream(Fault.LEDGER_DISORDER)
                times, delay = dice.choice((1, 2)), dice.uniform(0.01, 5.0)
            for number in range(times):
                self.network.later(delay * (number + 1), partial(self.ledger.take, fact))
        for change in changes:
            if isinstance(change, fx.RoundDecided):
                self.network.later(0.02, partial(self._observed, change.time))

    def _observed(self, time: int) -> None:
        if self.loop.time() < self.bus_away_until:
            return
        for replica in self.replicas.values():
            if replica.alive:
                replica.leader.round_observed(time)

    def _note(self, replica: Replica, effects: list[fx.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, fx.Alert):
                self.counts[f"alert {effect.alert_type}"] += 1
                self.tell(replica.name, f"alert {effect.alert_type}: {effect.message}")
                if effect.alert_type == "CORE_EXCEPTION":
                    self.broken("core_sound", effect.message)
            elif isinstance(effect, fx.ReconcileRepaired):
                self.counts[f"repair {effect.kind}"] += 1
                self.tell(replica.name, f"repaired {effect.kind}: {effect.detail}")
            elif isinstance(effect, fx.PositionClosed):
                reason = effect.position.exit_reason
                self.counts[f"closed {reason}"] += 1
                self.tell(replica.name, f"{effect.position.symbol} closed: {reason}")
            elif isinstance(effect, fx.RiskDecided) and not effect.approved:
                self.counts[f"rule {effect.rule}"] += 1

    # the venue's desk

    def sending(self, replica: str, order: Order) -> None:
        """An order is handed to the network."""
        term = self.replicas[replica].leader.term
        away = term is not None and term.store_away
        problem = must.committed_before_sent(self.rows, order, without_store=away)
        self.counts["sent without a store"] += away
        self._must("committed_before_sent", problem)
        if order.purpose is OrderPurpose.EXIT:
            self._exits[order.symbol] = self._exits.get(order.symbol, 0) + 1
        self.placed.setdefault(order.position_id, {})[order.client_order_id] = order
        self.tell(replica, f"sends {order.client_order_id} {order.side} {order.quantity}")

    def arrived(self, replica: str, order: Order, refused: ex.Refused | None) -> None:
        """An order reached the exchange."""
        if refused is not None:
            self.counts[f"venue {refused.code}"] += 1
            self.tell("venue", f"refuses {order.client_order_id}: {refused.code}")
            return
        self.counts[f"accepted {order.purpose}"] += 1
        self.tell("venue", f"accepts {order.client_order_id} of {replica}")
        self._must("accepted_once", must.accepted_once(self.venue.accepted, order))
        self._must("given_up_never_arrives", must.given_up_never_arrives(self.rows, order))
        self._must(
            "one_entry_a_decision",
            must.one_entry_a_decision(self.venue, self.placed[order.position_id], self.rows, order),
        )

    def ended(self, replica: str, order: Order, fault: str) -> None:
        """The sender has its answer."""
        if order.purpose is OrderPurpose.EXIT:
            self._exits[order.symbol] -= 1
        if fault:
            self.trouble(3.0, order.symbol)
            self.tell(replica, f"hears nothing good of {order.client_order_id}: {fault}")

    def cancelling(self, order: Order) -> None:
        """A cancel reached the exchange."""
        self._must("stop_stays", must.stop_stays(self.venue, self.rows, order))

    def cancelled(self, replica: str, order: Order, outcome: ex.RequestOutcome, fault: str) -> None:
        """A cancel has its answer."""
        self.counts["cancels"] += 1
        told = fault or (outcome.code if isinstance(outcome, ex.Refused) else "taken")
        self.tell(replica, f"cancel of {order.client_order_id}: {told}")

    def ask(self, command: Command) -> None:
        """Write an operator's request; who listens is told, if the word is not lost."""
        self.rows.requests[command.request_id] = (command, self.loop.time())
        for replica in self.replicas.values():
            if self.faults.dice.random() < _HEARD:
                self.network.later(self.network.hop(), replica.bell.ring)

    # what is checked

    def trouble(self, seconds: float, symbol: str = "") -> None:
        """Note that a fault holds something up: one symbol, or everything."""
        until = self.loop.time() + seconds
        self.troubled_until[symbol] = max(self.troubled_until.get(symbol, 0.0), until)

    def troubled(self, symbol: str) -> bool:
        """Tell whether a fault holds up what concerns a symbol."""
        now = self.loop.time()
        if now < self.troubled_until.get(symbol, 0.0) or now < self.troubled_until.get("", 0.0):
            return True
        leader = self.leader()
        if leader is not None and self._exits.get(symbol, 0) > 0:
            return True  # the exit was sent, and only its fate is not known
        return leader is not None and (leader.stream_at > now or not leader.exchange.up)

    def untroubled(self) -> bool:
        """True when nothing at all is held up."""
        return self.ready() and not any(map(self.troubled, self.market.symbols))

    def _glance(self) -> None:
        if not self.running:
            return
        self._must("protected", self.watch.look())
        for replica in self.replicas.values():
            self._look_at(replica)
        self.network.later(GLANCE_SECONDS, self._glance)

    def _look_at(self, replica: Replica) -> None:
        term = replica.leader.term
        if replica.alive and term is not None and term.fault:
            self.broken("core_sound", term.fault)
        for task in replica.tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                self.broken("leader_lives", f"{replica.owner} died: {task.exception()!r}")

    def _must(self, name: str, problem: str | None) -> None:
        if problem is not None:
            self.broken(name, problem)

    def broken(self, name: str, detail: str) -> None:
        """End the run: an invariant does not hold."""
        self.tell("BROKEN", f"{name}: {detail}")
        if self.loop.broken is None:
            self.loop.broken = must.Broken(name, detail)

    def tell(self, who: str, text: str) -> None:
        """Add a line to the story."""
        self.story.tell(self.loop.time(), self.venue.time, who, text)
