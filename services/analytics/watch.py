"""The health loop: looks at every service and part, tells of changes, keeps the alerts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from services.analytics.consumers import HeartbeatBook, Sink
from services.analytics.core.alerts import Alert, LedgerState, derive
from services.analytics.core.health import (
    Expected,
    Heartbeat,
    Limits,
    Link,
    Part,
    Status,
    SystemView,
    assess,
)
from services.analytics.core.portfolio import Portfolio
from services.analytics.health_store import HealthStore
from services.analytics.learning.store import Progress
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.peers import Peers
from services.analytics.views import Views
from services.catalog.processes import SERVICES
from services.kit.bus import Bus
from services.kit.db import TRANSIENT, Database
from services.kit.lease import Fenced
from services.kit.logs import get_logger
from services.kit.process import Process

log = get_logger(__name__)

_BACKING = ("postgres", "nats")


class HealthWatch:
    """What this replica knows of the system's health."""

    def __init__(
        self,
        *,
        process: Process,
        database: Database,
        views: Views,
        store: HealthStore,
        metrics: AnalyticsMetrics,
        expected: Sequence[Expected],
        limits: Limits,
        interval: float,
        flush_interval: float,
        look_interval: float,
        peers: Peers,
    ) -> None:
        self._process = process
        self._database = database
        self._views = views
        self._store = store
        self._metrics = metrics
        self._expected = tuple(expected)
        self._limits = limits
        self._interval = interval
        self._flush_interval = flush_interval
        self._look_interval = min(look_interval, interval)
        self._peers = peers
        self._link = Link(up=False)
        self._bus: Bus | None = None
        self._was_ready = False
        self.book = HeartbeatBook(process.clock)
        self.sinks: list[Sink] = []
        self._alerts: dict[tuple[str, str], Alert] = {}
        self.ledger = LedgerState()
        self.portfolio = Portfolio(wallet_balance=Decimal(0), positions=(), time=0)
        self.samples = 0
        self.learning = Progress()
        self.checks = 0
        """Health checks made since the start."""

    def watch_bus(self, bus: Bus) -> None:
        """Heartbeats come from this connection from now on."""
        self._bus = bus
        self._link = Link(up=bus.connected)

    def status(self) -> str:
        """Status of this replica: `starting` until it was ready once."""
        self._was_ready = self._was_ready or self._process.components.ready
        return self._process.status if self._was_ready else "starting"

    def view(self) -> SystemView:
        """Assess the system now; silence shows without waiting for the next check."""
        return assess(
            self._expected,
            self._heartbeats(),
            self._parts(),
            now=self._now().timestamp(),
            link=self._link,
            limits=self._limits,
            silent=self._peers.silent,
        )

    def current_alerts(self, view: SystemView) -> list[Alert]:
        """Return the alerts that hold now, each with the time since when it does."""
        now = self._now().timestamp()
        self._alerts = derive(view, self.ledger, now=now, before=self._alerts)
        return [alert for _, alert in sorted(self._alerts.items())]

    async def refresh(self) -> None:
        """Read the shared numbers; the last ones stay when PostgreSQL is away."""
        components = self._process.components
        if not (components.is_ready("postgres") and components.is_ready("migrations")):
            return
        try:
            self.portfolio = await self._views.portfolio()
            self.samples = await self._views.samples()
            self.learning = await self._views.learning()
            self.ledger = await self._views.ledger_state()
        except TRANSIENT as error:
            log.warning("numbers_not_read", error=str(error))

    async def run(self) -> None:
        """Look often, check at the interval, for ever."""
        due = 0.0
        started = False
        while True:
            self.status()
            self._look()
            await self._answer_for_services()
            begins = not started and self._process.components.is_ready("ledger")
            if begins or self._process.clock.monotonic() >= due:
                started = started or begins
                due = self._process.clock.monotonic() + self._interval
                await self.check()
            await self._process.clock.sleep(self._look_interval)

    async def check(self) -> None:
        """Make one health check and tell what changed."""
        self.checks += 1
        self._metrics.health_checks.inc()
        answers = await self._database.answers()
        self._process.components.set("postgres", answers, "does not answer")
        await self.refresh()
        await self._peers.ask()
        now = self._now()
        view = self.view()
        self.current_alerts(view)
        self._show()
        if answers and self._process.components.is_ready("ledger"):
            await self._tell(view, now)
        self.book.forget(before=now.timestamp() - self._limits.forget_replica_after)

    def _heartbeats(self) -> list[Heartbeat]:
        process = self._process
        own = Heartbeat(
            service=process.names.name,
            instance=process.instance,
            status=Status[process.status.upper()],
            seen_at=self._now().timestamp(),
            reason="; ".join(process.reasons),
            uptime_seconds=process.uptime_seconds,
        )
        others = []
        for beat in self.book.all():
            if (beat.service, beat.instance) != (own.service, own.instance):
                others.append(beat)
            else:
                own = replace(own, cpu_percent=beat.cpu_percent, memory_percent=beat.memory_percent)
        return [own, *others]

    def _parts(self) -> list[Part]:
        components = self._process.components.snapshot()
        return [Part(c.name, c.ready, c.reason) for c in components if c.name in _BACKING]

    def _now(self) -> datetime:
        return self._process.clock.now()

    def _look(self) -> None:
        up = self._bus is not None and self._bus.connected
        if up and not self._link.up and self.book.live:
            self._link = Link(up=True, up_since=self._now().timestamp())
        elif up != self._link.up:
            self._link = Link(up=up, up_since=self._link.up_since)
        waiting = max((s.waiting_seconds for s in self.sinks), default=0.0)
        self._metrics.sink_waiting.set(waiting)
        if waiting > self._flush_interval:
            self._process.degraded["ledger"] = f"a batch waits for {waiting:.0f} s to be written"
        else:
            self._process.degraded.pop("ledger", None)
        self._process.progress["events_recorded"] = float(sum(s.recorded for s in self.sinks))
        self._process.progress["sink_pending"] = float(sum(s.pending for s in self.sinks))

    async def _answer_for_services(self) -> None:
        """The gateway asks analytics for the health of every service by its full name."""
        view = self.view()
        for service in SERVICES:
            if service == self._process.names:
                continue
            status = next((v.status for v in view.services if v.name == service.name), Status.DOWN)
            serving = status in (Status.HEALTHY, Status.DEGRADED)
            await self._process.health.set(service.grpc_service, serving=serving)

    def _show(self) -> None:
        self._metrics.portfolio_value.set(float(self.portfolio.total_value))
        self._metrics.positions.set(len(self.portfolio.positions))
        self._metrics.samples.set(self.samples)
        self._metrics.alerts.clear()
        for alert in self._alerts.values():
            self._metrics.alerts.labels(alert.type).inc()

    async def _tell(self, view: SystemView, now: datetime) -> None:
        try:
            changed = await self._store.tell(view, self._heartbeats(), now)
        except Fenced:
            return
        except TRANSIENT as error:
            self._metrics.errors.labels("health").inc()
            log.warning("health_not_stored", error=str(error))
            return
        self._metrics.published.inc(changed)
