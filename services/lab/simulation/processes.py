"""Processes: how they start, die, freeze, and what they tell of themselves."""

from __future__ import annotations

from pathlib import Path

from services.exec_risk.core import effects as fx
from services.lab.simulation.bus import SimulatedBus
from services.lab.simulation.desk import OrderDesk
from services.lab.simulation.exchange import SimulatedExchange
from services.lab.simulation.ground import Ground
from services.lab.simulation.plan import Pace
from services.lab.simulation.replica import BusCandles, Replica
from services.lab.simulation.replica_clock import ReplicaClock
from services.lab.simulation.replicas import Replicas
from services.lab.simulation.store import LeaseRow, MemoryStore, Witness
from services.lab.simulation.streams import Streams
from services.lab.simulation.watch import ProtectionWatch
from services.trade.order import Order, OrderPurpose

AWAY_SECONDS = 4.0
"""A leader has noticed by then that the store is away: it asks once a second, and its patience
is one more."""


class Processes:
    """Starts, kills and freezes replicas."""

    def __init__(
        self,
        ground: Ground,
        replicas: Replicas,
        *,
        desk: OrderDesk,
        witness: Witness,
        bus: SimulatedBus,
        streams: Streams,
        disk: Path,
    ) -> None:
        self._ground, self._replicas = ground, replicas
        self._desk, self._witness, self._bus, self._streams = desk, witness, bus, streams
        self._disk = disk
        self.watch: ProtectionWatch | None = None
        self.venue_away_until = [0.0]
        self.standby_at_loss = False
        self.running = True

    def start(self, name: str, generation: int) -> None:
        """Start a process."""
        ground = self._ground
        replica = Replica(name, generation, ground.loop)
        clock = ReplicaClock(ground.network)
        paper = ground.plan.pace is not Pace.EXCHANGE
        exchange = SimulatedExchange(
            replica=name,
            venue=ground.venue,
            network=ground.network,
            faults=ground.faults,
            clock=clock,
            desk=self._desk,
            points=self._streams.current if paper else None,
            away_until=self.venue_away_until,
        )
        replica.wire(
            disk=self._disk,
            policy=ground.policy,
            clock=clock,
            lease_row=LeaseRow(ground.rows, ground.network),
            exchange=exchange,
            store=lambda lease: MemoryStore(
                replica=name,
                rows=ground.rows,
                lease=lease,
                network=ground.network,
                faults=ground.faults,
                witness=self._witness,
            ),
            candles=BusCandles(self._bus.take_candles),
            on_effects=lambda effects: self.told(replica, effects),
        )
        self._replicas.by_name[name] = replica
        replica.awake_since = ground.loop.time()
        ground.tell(name, f"starts as {replica.owner}")
        replica.start()
        for batch in list(self._bus.answers):
            replica.leader.put(batch)

    def kill(self, name: str, restart_in: float) -> None:
        """SIGKILL a process now; its supervisor starts it again."""
        replica = self._replicas[name]
        if not replica.alive:
            return
        self._note_loss(name)
        replica.kill()
        self._ground.counts["crashes"] += 1
        self._ground.tell(name, f"is killed, restarts in {restart_in:.1f} s")
        generation = int(replica.owner[1:]) + 1
        self._ground.network.later(restart_in, lambda: self._restart(name, generation))

    def _restart(self, name: str, generation: int) -> None:
        if self.running:
            self.start(name, generation)

    def freeze(self, name: str, seconds: float) -> None:
        """SIGSTOP a process now and let it go on later."""
        ground, replica = self._ground, self._replicas[name]
        if not replica.alive or replica.frozen:
            return
        self._note_loss(name)
        replica.frozen = True
        ground.loop.park(replica.owner)
        ground.tell(name, f"is frozen for {seconds:.1f} s")

        def go_on() -> None:
            if replica.alive:
                replica.frozen, replica.awake_since = False, ground.loop.time()
                ground.tell(name, "goes on")
                # it has all that came meanwhile still to read
                self._desk.trouble(0.6)
                ground.loop.unpark(replica.owner)

        ground.network.later(seconds, go_on)

    def _note_loss(self, name: str) -> None:
        """Begin a grace when the leader goes, or in leaderless time one who could follow it."""
        others = [r for r in self._replicas if r.name != name and r.alive and not r.frozen]
        led_by_another = any(r.leading for r in others)
        if self._replicas[name].leading or (self.standby_at_loss and not led_by_another):
            self.standby_at_loss = bool(others)
            if self.watch is not None:
                self.watch.leader_lost()

    def look(self) -> None:
        """Look whether a task died, or a core failed."""
        for replica in self._replicas:
            term = replica.leader.term
            if replica.alive and term is not None and term.fault:
                self._ground.broken("core_sound", term.fault)
            for task in replica.tasks:
                if task.done() and not task.cancelled() and task.exception() is not None:
                    detail = f"{replica.owner} died: {task.exception()!r}"
                    self._ground.broken("leader_lives", detail)

    def told(self, replica: Replica, effects: list[fx.Effect]) -> None:
        """Take what a replica decided."""
        ground = self._ground
        for effect in effects:
            if isinstance(effect, fx.Alert):
                ground.counts[f"alert {effect.alert_type}"] += 1
                ground.tell(replica.name, f"alert {effect.alert_type}: {effect.message}")
                if effect.alert_type == "CORE_EXCEPTION":
                    ground.broken("core_sound", effect.message)
            elif isinstance(effect, fx.ReconcileRepaired):
                ground.counts[f"repair {effect.kind}"] += 1
                ground.tell(replica.name, f"repaired {effect.kind}: {effect.detail}")
            elif isinstance(effect, fx.PositionClosed):
                reason = effect.position.exit_reason
                ground.counts[f"closed {reason}"] += 1
                ground.tell(replica.name, f"{effect.position.symbol} closed: {reason}")
            elif isinstance(effect, fx.RiskDecided) and not effect.approved:
                ground.counts[f"rule {effect.rule}"] += 1
            elif isinstance(effect, fx.OrderChanged) and effect.cause == "decided":
                self._entry_without_store(replica, effect.order)

    def _entry_without_store(self, replica: Replica, order: Order) -> None:
        """Note an entry that is decided while the store is away, and see that it is no late one.

        In lockstep the market waits for the store, and so does what is decided meanwhile.
        """
        if order.purpose is not OrderPurpose.ENTRY:
            return
        rows, now = self._ground.rows, self._ground.loop.time()
        if now >= rows.away_until:
            return
        replica.decided_without_store.add(order.client_order_id)
        if self._ground.plan.pace is Pace.LOCKSTEP:
            return
        known = now - max(rows.away_since, replica.awake_since)
        if known > AWAY_SECONDS:
            text = f"{order.client_order_id} is decided {known:.1f} s after the store went"
            self._ground.broken("entry_allowed", text)
