"""One running process: start, readiness, drain and stop, in the right order.

serve() → settings are logged → build() connects and wires → the server accepts → liveness SERVING →
readiness follows the components. SIGTERM → readiness NOT_SERVING → the proxies' checks notice →
`on_drain` hooks stop taking work → the server ends its calls → `on_stop` hooks close what was
opened, last opened first → exit 0. A second signal exits at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from services.catalog.processes import SERVICES, VERSION
from services.catalog.processes import Process as Names
from services.catalog.subjects import STREAMS
from services.kit.bus.bus import Bus, BusUnavailable
from services.kit.bus.login import BusLogin
from services.kit.clock import Clock, SystemClock
from services.kit.garbage import search_seldom
from services.kit.health import Components, Health
from services.kit.heartbeat import Heartbeats
from services.kit.interceptors import interceptors
from services.kit.modes import FollowedMode
from services.kit.observe import logs
from services.kit.observe.loop_delay import LoopDelay
from services.kit.observe.metrics import Metrics
from services.kit.observe.telemetry import Telemetry
from services.kit.server import Servicers, add_servicers, bind
from services.kit.settings import ProcessSettings

log = logs.get_logger(__name__)

Hook = Callable[[], Awaitable[None]]
Build = Callable[["Process"], Awaitable[Servicers]]

_WATCH_SECONDS = 0.5


class Process:
    """What `build` is given: the parts that every process has, and where to hang its own."""

    def __init__(self, names: Names, settings: ProcessSettings, clock: Clock) -> None:
        self.names = names
        self.settings = settings
        self.clock = clock
        self.instance = settings.service_instance or f"{names.key}-{os.getpid()}"
        self.metrics = Metrics(names.metric_prefix)
        self.components = Components()
        self.health = Health(names.grpc_service)
        self.telemetry = Telemetry(
            service=names.name,
            instance=self.instance,
            version=VERSION,
            endpoint=settings.otel_exporter_otlp_endpoint,
        )
        self.progress: dict[str, float] = {}
        """Numbers that show progress, in heartbeats and GetStatus."""
        self.degraded: dict[str, str] = {}
        """What is wrong although the process is ready: part to reason."""
        self._started = clock.monotonic()
        self._drain_asked = False
        self._drain_by_file = False
        self._maintenance_asked = False
        self._maintenance_by_file = False
        self._mode = FollowedMode(names.key, self._mode_changed)
        self._stopping = False
        self._on_drain: list[Hook] = []
        self._on_stop: list[Hook] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._exit_code = 0
        self._readiness_changed = asyncio.Event()
        self.components.on_change(self._readiness_changed.set)
        self.metrics.gauge("uptime_seconds", "Seconds since the process started.").set_function(
            lambda: self.uptime_seconds
        )
        self.metrics.gauge("draining", "1 while the replica leaves rotation.").set_function(
            lambda: float(self.draining)
        )
        self.metrics.gauge("maintenance", "1 while in maintenance: no entries.").set_function(
            lambda: float(self.maintenance)
        )

    @property
    def uptime_seconds(self) -> float:
        """Seconds since the process started."""
        return self.clock.monotonic() - self._started

    @property
    def draining(self) -> bool:
        """True while the replica leaves rotation: by RPC, file or mode, or because it stops."""
        asked = self._drain_asked or self._drain_by_file or self._mode.mode.drain
        return asked or self._stopping

    @property
    def maintenance(self) -> bool:
        """True while in maintenance: by RPC, by the file or by the mode of the service."""
        asked = self._maintenance_asked or self._maintenance_by_file
        return asked or self._mode.mode.maintenance

    @property
    def ready(self) -> bool:
        """True while this replica can do its work and is in rotation."""
        return self.components.ready and not self.draining

    @property
    def status(self) -> str:
        """`healthy`, `degraded` or `critical`."""
        if not self.components.ready:
            return "critical"
        return "degraded" if self.degraded else "healthy"

    @property
    def reasons(self) -> list[str]:
        """Why the status is not healthy, and what was switched."""
        troubles = self.components.reasons() + [f"{k}: {v}" for k, v in self.degraded.items()]
        told = self._mode.mode.reason or "switched on"
        drain = self.draining and not self._stopping
        switched = {"drain": drain, "maintenance": self.maintenance}
        return troubles + [f"{name}: {told}" for name, on in switched.items() if on]

    def drain(self, enabled: bool) -> None:
        """Leave rotation, or return into it."""
        self._drain_asked = enabled
        self._readiness_changed.set()

    def set_maintenance(self, enabled: bool) -> None:
        """Enter or leave maintenance."""
        self._maintenance_asked = enabled

    def _mode_changed(self) -> None:
        self._readiness_changed.set()

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run something for the process's whole life; its crash ends the process with 1."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or self._stopping:
            return
        error = task.exception()
        log.critical("task_ended", task=task.get_name(), exc_info=error, error=str(error))
        self.stop(exit_code=1)

    def on_drain(self, hook: Hook) -> None:
        """Call the hook when the process stops taking work, before calls are ended."""
        self._on_drain.append(hook)

    def on_stop(self, hook: Hook) -> None:
        """Call the hook after calls have ended, the last registered first."""
        self._on_stop.append(hook)

    def stop(self, *, exit_code: int = 0) -> None:
        """Begin to stop."""
        self._exit_code = max(self._exit_code, exit_code)
        self._stop.set()

    async def connect_bus(self) -> Bus:
        """Connect to the bus, wait for its streams, send heartbeats; it is closed at the stop."""
        settings = self.settings
        login = BusLogin(self.names.key, settings.nats_nkey_file, settings.nats_ca_file)
        bus = await Bus.connect(settings.nats_url, self.instance, login)
        self.on_stop(bus.close)
        await self._await_streams(bus)
        heartbeats = Heartbeats(self, bus)
        # hooks run last opened first, so the farewell is sent before the bus is closed
        self.on_stop(heartbeats.farewell)
        if self.names in SERVICES:
            await self._mode.start(bus)
        self.spawn("heartbeats", heartbeats.run())
        self.spawn("bus-state", self._follow_bus(bus))
        return bus

    async def _await_streams(self, bus: Bus) -> None:
        while True:
            try:
                return await bus.require(STREAMS)
            except BusUnavailable as error:
                log.warning("streams_not_as_declared", error=str(error))
                self.components.set("nats", False, str(error))
            await self.clock.sleep(_WATCH_SECONDS)

    async def _follow_bus(self, bus: Bus) -> None:
        while True:
            self.components.set("nats", bus.connected, "not connected")
            await self.clock.sleep(_WATCH_SECONDS)

    async def run(self, build: Build) -> int:
        """Build, serve until a signal, stop; return the exit code."""
        await self.health.start()
        server = grpc.aio.server(
            interceptors=interceptors(self.metrics, self.telemetry),
            options=[("grpc.so_reuseport", 0)],
        )
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, server)
        metrics_server = self.metrics.serve(self.settings.metrics_address)
        try:
            add_servicers(server, self, await build(self))
            port = bind(server, self.settings.grpc_address)
            await server.start()
            await self.health.set("", serving=True)
            log.info("serving", grpc_port=port, metrics_port=metrics_server.port)
            self.spawn("loop-delay", LoopDelay(self.metrics.registry, self.clock).run())
            self.spawn("readiness", self._follow_readiness())
            self.spawn("switch-files", self._follow_files())
            await self._stop.wait()
        finally:
            await self._shut_down(server)
            metrics_server.close()
            self.telemetry.close()
        log.info("stopped", exit_code=self._exit_code)
        return self._exit_code

    async def _follow_readiness(self) -> None:
        before = None
        while True:
            self._readiness_changed.clear()
            if self.ready != before:
                before = self.ready
                await self.health.set(self.names.grpc_service, serving=self.ready)
                log.info("readiness", ready=self.ready, reasons=self.reasons)
            await self._readiness_changed.wait()

    async def _follow_files(self) -> None:
        while True:
            drain = self.settings.drain_file.exists()
            if drain != self._drain_by_file:
                self._drain_by_file = drain
                self._readiness_changed.set()
            self._maintenance_by_file = self.settings.maintenance_file.exists()
            await self.clock.sleep(_WATCH_SECONDS)

    async def _shut_down(self, server: grpc.aio.Server) -> None:
        self._stopping = True
        self._readiness_changed.set()
        await self.health.shut_down()
        if not self._exit_code:
            await self.clock.sleep(self.settings.drain_delay_seconds)
        await _run_hooks(self._on_drain)
        await server.stop(self.settings.stop_grace_seconds)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await _run_hooks(reversed(self._on_stop))


async def _run_hooks(hooks: Any) -> None:
    for hook in hooks:
        try:
            await hook()
        except Exception:
            # One part that fails to close must not keep the others from closing.
            log.exception("stop_hook_failed", hook=getattr(hook, "__qualname__", str(hook)))


async def serve(names: Names, settings: ProcessSettings, build: Build) -> int:
    """Run a process until SIGTERM or SIGINT; return its exit code."""
    process = Process(names, settings, SystemClock())
    logs.configure(names.name, process.instance, settings.log_level, settings.log_format)
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if process._stop.is_set():
            log.warning("second_signal_exits_at_once")
            os._exit(130)
        process.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        return await process.run(_settled(build))
    except Exception:
        log.exception("start_failed")
        return 1


def _settled(build: Build) -> Build:
    """Keep what a process is built of out of later searches for garbage.

    It lives as long as the process, and with ccxt among it each search is a pause of a tenth of a
    second.
    """

    async def built(process: Process) -> Servicers:
        servicers = await build(process)
        search_seldom()
        return servicers

    return built


def run(names: Names, settings: ProcessSettings, build: Build) -> int:
    """Run a process on uvloop; the usual last line of a `__main__`."""
    import uvloop

    return int(uvloop.run(serve(names, settings, build)))


__all__: Sequence[str] = ("Build", "Process", "run", "serve")
