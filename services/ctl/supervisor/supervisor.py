"""The supervisor: starts every unit in order, keeps them running, stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from services.catalog.processes import AI, ANALYTICS, EXEC_RISK, SERVICES, TRAINER, VENUE
from services.ctl.render import endpoints
from services.ctl.servers.command import ServerFailed
from services.ctl.supervisor import database, schema, streams
from services.ctl.supervisor.home import Home, Refused, read_json, write_json
from services.ctl.supervisor.in_rotation import sends_to
from services.ctl.supervisor.leftovers import Leftovers
from services.ctl.supervisor.recovery import BusPlace, Recoveries
from services.ctl.supervisor.rotation import rotate
from services.ctl.supervisor.selection import GATEWAY, Selection, keys
from services.ctl.supervisor.tending import Tended, Tending
from services.ctl.supervisor.topology import (
    BACKING,
    DOOR,
    PARTS,
    SCALABLE,
    SIDECARS,
    Topology,
)
from services.ctl.supervisor.unit import Unit
from services.ctl.supervisor.watch import State, Watch

READY_SECONDS = 120.0
ROTATION_SECONDS = 15.0
"""Longest wait for the gateway to find replicas that are ready."""
ROTATE_SECONDS = 5.0
CERTIFICATES_SECONDS = 30.0
DOOR_SECONDS = 0.5
"""Pause between two looks at the keys of tokens: a rotated one is published before it signs."""
MOST_REPLICAS = 16
DEFAULT_REPLICAS = {AI.key: 2, EXEC_RISK.key: 1, ANALYTICS.key: 1}


@dataclass(frozen=True, slots=True)
class Row:
    """One process as `qt ps` shows it."""

    name: str
    service: str
    state: str
    address: str
    pid: int
    restarts: int
    adopted: bool
    reason: str
    alert: str
    """What a person must look at: a restart loop, a start given up; empty while nothing is."""


class Supervisor:
    """Owns the processes of one home."""

    def __init__(self, *, home: Home, topology: Topology, chosen: Selection | None = None) -> None:
        """Nothing is started before `start`, and then what is chosen; everything by default."""
        self.home = home
        self.topology = topology
        self.chosen = chosen or Selection()
        self.watches: dict[str, Watch] = {}
        self.phase = "starting"
        self.stop_asked = asyncio.Event()
        self.hurry = asyncio.Event()
        """Set by the second Ctrl-C: what drains is killed."""
        self.changes = asyncio.Event()
        self.again = asyncio.Event()
        """Set when everything shall stop and start again."""
        self.starts = 1
        """How often everything was started."""
        self._changing = ""
        self._leftovers = Leftovers(home)
        self._tending = Tending(_tended(home, topology))
        self._recoveries = Recoveries(
            BusPlace(topology.nats.url, topology.operator), lambda: self.watches.values()
        )
        self._recovering: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start what was chosen, in order; `ServerFailed` with one line when a part cannot."""
        self._require(self.chosen)
        self.topology.addresses.renew_taken(self._leftovers.find())
        if self.topology.mesh is not None:
            await asyncio.to_thread(self.topology.mesh.prepare)
        units = await self._units()
        self._tending.begin()
        await self._leftovers.end_unwanted(units)
        await self._bring_up(units)
        self.phase = "waiting for readiness"
        if self.chosen.whole:
            # a part of the system may be waiting for what was not chosen
            await self._until_ready()
            await self._until_in_rotation()
        self.phase = "running"
        self._changed()

    async def include(self, more: Selection) -> list[str]:
        """Start these parts too; return what was started, when it answers."""
        self._require(more)
        async with self.change("a start"):
            self.chosen = self.chosen.and_also(more)
            fresh = [unit for unit in await self._units() if unit.name not in self.watches]
            await self._bring_up(fresh)
            self.tell_endpoints()
        self._changed()
        return [unit.name for unit in fresh]

    async def exclude(self, names: Iterable[str]) -> list[str]:
        """Stop these parts in order while the others go on; return what was stopped."""
        async with self.change("a stop"):
            gone = keys(names)
            left = self.chosen.without(gone)
            units = [w.unit for w in self.watches.values() if w.unit.service in gone]
            if not units:
                raise Refused(f"{', '.join(sorted(gone))}: nothing of that runs here; see `qt ps`")
            self.chosen = left
            self.tell_endpoints()
            for stage in sorted({unit.stage for unit in units}, reverse=True):
                here = [unit.name for unit in units if unit.stage == stage]
                await asyncio.gather(*(self.remove(name) for name in here))
        self._changed()
        return [unit.name for unit in units]

    async def _units(self) -> list[Unit]:
        """Return what shall run; endpoints are known from the outset."""
        services = self._services()
        self._write_endpoints(services)
        sidecars = await asyncio.to_thread(self.topology.sidecars, services)
        others = [*self.topology.backing(), self.topology.venue(), *self.topology.on_demand()]
        if GATEWAY in self.chosen:
            others.append(await asyncio.to_thread(self.topology.gateway))
        chosen = [unit for unit in others if unit.service in self.chosen]
        return [*chosen, *sidecars, *services]

    def _require(self, chosen: Selection) -> None:
        """Refuse parts that were named and that this machine or its settings do not have."""
        absent = [] if chosen.whole else sorted(chosen.parts & self.topology.absent.keys())
        if absent:
            raise Refused(f"{absent[0]} is not there; {self.topology.absent[absent[0]]}")

    async def _bring_up(self, units: Sequence[Unit]) -> None:
        """Start units, each as soon as what it needs is there, and wait for their answers."""
        keepers = [unit for unit in units if unit.service in database.OWNERS]
        for unit in units:
            if unit.stage != PARTS:
                self._watch(unit)
        await self._prepare_bus(units)
        for unit in units:
            if unit.stage == PARTS and unit not in keepers:
                self._watch(unit)
        if self.topology.postgres.name in self.watches:
            await self._answered(self.topology.postgres.name)
            await self._prepare_database(units)
        if VENUE.key in self.watches:
            await self._answered(VENUE.key)
        for unit in keepers:
            self._watch(unit)
        awaited = (SIDECARS, DOOR, PARTS)
        await self._answered(
            *(unit.name for unit in units if unit.stage in awaited and unit.service != TRAINER.key)
        )

    async def _prepare_bus(self, units: Iterable[Unit]) -> None:
        if self.topology.nats.name not in {unit.name for unit in units}:
            return
        await self._answered(self.topology.nats.name)
        await streams.declare(self.topology.nats.url, self.topology.operator)
        if self._recovering is None:
            self._recovering = asyncio.create_task(self._recoveries.run(), name="recoveries")

    def _services(self) -> list[Unit]:
        counts = self.replicas()
        return [
            self.topology.service(process, number, counts[process.key])
            for process in SERVICES
            if process.key in self.chosen
            for number in range(1, counts[process.key] + 1)
        ]

    def replicas(self) -> dict[str, int]:
        """How many of each service shall run."""
        kept = self.home.remembered().get("replicas", {})
        return {key: int(kept.get(key, DEFAULT_REPLICAS[key])) for key in SCALABLE}

    def _watch(self, unit: Unit) -> Watch:
        watch = Watch(
            unit,
            changed=self._changed,
            adopted=self._leftovers.adopt(unit.name),
            restarted=self._recoveries.restarted,
        )
        self.watches[unit.name] = watch
        watch.begin()
        return watch

    async def _answered(self, *names: str) -> None:
        waits = [self.watches[name].answered.wait() for name in names]
        await asyncio.gather(*waits)
        for watch in self.watches.values():
            if watch.failed:
                raise ServerFailed(schema.with_log(watch.reason, watch.unit.command))

    async def _prepare_database(self, starting: Iterable[Unit]) -> None:
        """Bring it to what starts; whoever runs with this build already has its schema."""
        postgres = self.topology.postgres.name
        units = [unit for unit in starting if unit.name not in self._leftovers]
        owners = {unit.service for unit in units} & {*database.OWNERS}
        created = postgres in {u.name for u in units} and not self.watches[postgres].adopted
        if owners or created:
            await schema.prepare(self.topology, owners)

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            self.changes.clear()
            if all(watch.state is State.READY for watch in self.watches.values()):
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.changes.wait(), 1.0)

    async def _until_in_rotation(self) -> None:
        """Wait for the gateway's health checks, so that what is called running answers."""
        endpoints = read_json(self.home.endpoints_file)
        names = [unit.name for unit in self._services()]
        deadline = time.monotonic() + ROTATION_SECONDS
        while not await sends_to(endpoints, *names) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)

    async def scale(self, key: str, count: int) -> None:
        """Run `count` replicas of a service from now on, also after the next start."""
        if key not in SCALABLE:
            raise Refused(f"{key} cannot be scaled; {', '.join(SCALABLE)} can")
        if not 1 <= count <= MOST_REPLICAS:
            raise Refused(f"{key}={count}: between 1 and {MOST_REPLICAS} replicas can run")
        if key not in self.chosen:
            raise Refused(f"{key} does not run here: `qt up {key}` starts it")
        async with self.change("a scaling"):
            self.home.remember({"replicas": {**self.replicas(), key: count}})
            wanted = {unit.name: unit for unit in self._services() if unit.service == key}
            running = {n for n, watch in self.watches.items() if watch.unit.service == key}
            await self.add([wanted[name] for name in sorted(wanted.keys() - running)])
            self.tell_endpoints()
            await asyncio.gather(*(self.remove(name) for name in running - wanted.keys()))
        self._changed()

    @contextlib.asynccontextmanager
    async def change(self, what: str) -> AsyncIterator[None]:
        """Be the only one who changes which replicas run; Refused while another does."""
        if self._changing or self.phase != "running":
            raise Refused(f"not now: {self._changing or f'the system is {self.phase}'}; try later")
        self._changing = f"{what} is under way"
        try:
            yield
        finally:
            self._changing = ""

    async def add(self, units: Iterable[Unit]) -> None:
        """Start replicas behind sidecars of their own; returns when each has answered."""
        fresh = list(units)
        sidecars = await asyncio.to_thread(self.topology.sidecars, fresh)
        for unit in (*sidecars, *fresh):
            await asyncio.wait_for(self._watch(unit).answered.wait(), READY_SECONDS)

    def tell_endpoints(self, *spares: Unit) -> None:
        """Tell the proxies where the replicas are; spares are in no remembered count."""
        self._write_endpoints([*self._services(), *spares])

    async def remove(self, name: str) -> None:
        """Stop a replica, and then its sidecar, which carries its last answers."""
        for unit in (name, f"{name}.sidecar"):
            watch = self.watches.get(unit)
            if watch is not None:
                await watch.stop()
                del self.watches[unit]

    def restart(self, key: str) -> list[str]:
        """Restart an instance, or all instances of a service; return their names."""
        chosen = [w for n, w in self.watches.items() if key in (n, w.unit.service)]
        if not chosen:
            raise Refused(f"no {key!r} runs here; there are {', '.join(self.watches)}")
        for watch in chosen:
            watch.restart()
        return [watch.unit.name for watch in chosen]

    async def rebuild(self, keys: Iterable[str]) -> None:
        """Have the next start of these services run the build and the schema of now."""
        chosen = [w for n, w in self.watches.items() if {n, w.unit.service} & set(keys)]
        services = {w.unit.service for w in chosen}
        self.topology.renew_build()
        for process in SERVICES:
            if process.key in services and process.key in database.OWNERS:
                await schema.migrate(self.topology, process)
        fresh = {unit.name: unit for unit in self._services()}
        for watch in chosen:
            watch.unit = fresh.get(watch.unit.name, watch.unit)

    def begin_anew(self) -> None:
        """Forget what was stopped, so that `start` can be called again."""
        self.watches.clear()
        self.again.clear()
        self.starts += 1
        self.phase = "starting"

    async def stop(self) -> None:
        """Stop everything, the highest stage first; also what was never adopted."""
        self.phase = "stopping"
        self._tending.end()
        if self._recovering is not None:
            self._recovering.cancel()
            await asyncio.gather(self._recovering, return_exceptions=True)
            self._recovering = None
        hurrying = asyncio.create_task(self._kill_in_a_hurry(), name="hurry")
        stages = sorted({w.unit.stage for w in self.watches.values()}, reverse=True)
        for stage in stages:
            here = [w for w in self.watches.values() if w.unit.stage == stage]
            await asyncio.gather(*(watch.stop() for watch in here))
        hurrying.cancel()
        await self._leftovers.end()
        self.phase = "stopped"
        self._changed()

    async def _kill_in_a_hurry(self) -> None:
        await self.hurry.wait()
        for watch in self.watches.values():
            # the database and the bus end in order even then: they are quick
            if watch.child is not None and watch.unit.stage != BACKING:
                watch.child.kill()

    def rows(self) -> list[Row]:
        """Every process as it stands."""
        return [
            Row(
                name=name,
                service=watch.unit.service,
                state=watch.state.value,
                address=watch.unit.address,
                pid=watch.child.pid if watch.child and watch.child.alive() else 0,
                restarts=watch.restarts,
                adopted=watch.adopted,
                reason=watch.reason,
                alert=watch.alert or self._tending.trouble(watch.unit.stage),
            )
            for name, watch in self.watches.items()
        ]

    def _write_endpoints(self, units: Iterable[Unit]) -> None:
        instances = {unit.name: unit.service for unit in units}
        if VENUE.key in self.chosen:
            instances[VENUE.key] = VENUE.key
        found: dict[str, Any] = self.topology.addresses.write(
            instances,
            traces=self.topology.traces_told,
            metrics=self.topology.metrics_told,
        )
        endpoints.render(self.home.envoy, found)
        if self.topology.prometheus is not None:
            self.topology.prometheus.point_at(found)

    def _changed(self) -> None:
        self.changes.set()
        entries = self._leftovers.entries()
        for name, watch in self.watches.items():
            if watch.child is not None and watch.child.alive():
                entries[name] = watch.child.entry()
        write_json(self.home.processes_file, entries)


def _tended(home: Home, topology: Topology) -> Iterator[Tended]:
    yield Tended(PARTS, "logs cannot be rotated", ROTATE_SECONDS, partial(rotate, home.logs))
    door = "tokens or certificate cannot be renewed"
    yield Tended(DOOR, door, DOOR_SECONDS, topology.credentials.tend)
    if topology.mesh is not None:
        mesh = topology.mesh.certificates
        yield Tended(SIDECARS, "certificates cannot be renewed", CERTIFICATES_SECONDS, mesh.tend)
