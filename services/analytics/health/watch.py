"""The health loop: looks at every service and part, tells of changes, keeps alerts, heals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.analytics.alerts.desk import AlertDesk
from services.analytics.alerts.store import AlertStore
from services.analytics.core.alerts import Alert, LedgerState, derive, of_learning, of_troubles
from services.analytics.core.health import Status, SystemView
from services.analytics.core.portfolio import Portfolio
from services.analytics.core.standing import Bounds, Trading, standing
from services.analytics.health.reads import HealthReads
from services.analytics.health.recovery import Recovery
from services.analytics.health.sight import Sight
from services.analytics.health.store import HealthStore
from services.analytics.learning.progress import Progress
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.modes.service_modes import ServiceModes
from services.analytics.views import Views
from services.catalog.processes import SERVICES
from services.kit.observe.logs import get_logger
from services.kit.postgres.db import TRANSIENT, Database
from services.kit.postgres.lease import Fenced
from services.kit.process import Process

log = get_logger(__name__)

_DATABASE_SECONDS = 5.0
_ASK_SECONDS = 2.0
_FRESH_SECONDS = 1.0
_ANSWER_SECONDS = 0.5
_TRADING_SECONDS = 30.0


class HealthWatch:
    """What this replica knows of the system's health."""

    def __init__(
        self,
        *,
        process: Process,
        database: Database,
        views: Views,
        reads: HealthReads,
        store: HealthStore,
        alerts: AlertStore,
        desk: AlertDesk,
        recovery: Recovery,
        modes: ServiceModes,
        sight: Sight,
        metrics: AnalyticsMetrics,
        bounds: Bounds,
        interval: float,
        flush_interval: float,
        look_interval: float,
    ) -> None:
        self._process = process
        self._database = database
        self._views = views
        self._reads = reads
        self._store = store
        self._alert_store = alerts
        self._desk = desk
        self._recovery = recovery
        self._modes = modes
        self._metrics = metrics
        self._bounds = bounds
        self._interval = interval
        self._flush_interval = flush_interval
        self._look_interval = min(look_interval, interval)
        self._was_ready = False
        self._shown: tuple[tuple[str, Status], ...] = ()
        self._alerts: dict[tuple[str, str], Alert] = {}
        self._trading = Trading()
        self._trading_due = 0.0
        self._fresh_until = 0.0
        self._refreshing: asyncio.Task[None] | None = None
        self.sight = sight
        self.ledger = LedgerState()
        self.portfolio = Portfolio(wallet_balance=Decimal(0), positions=(), time=0)
        self.samples = 0
        self.learning = Progress()
        self.stored: Sequence[Any] = ()
        """Rows of the alerts that are stored as open, those of Alertmanager too."""
        self.checks = 0
        """Health checks made since the start."""

    @property
    def auto_restarts(self) -> int:
        """Restarts that this replica asked for and a supervisor did."""
        return self._recovery.restarts

    def status(self) -> str:
        """Status of this replica: `starting` until it was ready once."""
        self._was_ready = self._was_ready or self._process.components.ready
        return self._process.status if self._was_ready else "starting"

    def view(self) -> SystemView:
        """Assess the system now; silence shows without waiting for the next check."""
        return self.sight.view()

    def current_alerts(self, view: SystemView) -> list[Alert]:
        """Return the alerts that hold now, each with the time since when it does."""
        now = self._now().timestamp()
        more = [
            *of_troubles(self.sight.troubles, now),
            *of_learning(self.learning.state, self.learning.drifting, now),
            *standing(view, self._trading, self.sight.full(), self._bounds, now),
            *self._recovery.alerts(now),
            *self._desk.own(now),
            *self._modes.alerts(),
        ]
        self._alerts = derive(view, self.ledger, now=now, before=self._alerts, more=more)
        return [alert for _, alert in sorted(self._alerts.items())]

    async def recent(self) -> None:
        """See that the shared numbers are about a second old, without waiting long for them.

        Health is asked often and must answer while PostgreSQL is slow.
        """
        if self._refreshing is None or self._refreshing.done():
            if self._process.clock.monotonic() < self._fresh_until:
                return
            self._refreshing = asyncio.create_task(self.refresh(), name="refresh")
        await asyncio.wait({self._refreshing}, timeout=_ANSWER_SECONDS)

    async def refresh(self) -> None:
        """Read the shared numbers; the last ones stay when PostgreSQL is away."""
        components = self._process.components
        if not (components.is_ready("postgres") and components.is_ready("migrations")):
            return
        try:
            async with asyncio.timeout(_DATABASE_SECONDS):
                self.portfolio = await self._views.portfolio()
                self.samples = await self._views.samples()
                self.learning = await self._views.learning()
                self.ledger = await self._views.ledger_state()
                self.stored = await self._alert_store.open_rows()
                self._fresh_until = self._process.clock.monotonic() + _FRESH_SECONDS
                if self._process.clock.monotonic() >= self._trading_due:
                    self._trading_due = self._process.clock.monotonic() + _TRADING_SECONDS
                    self._trading = await self._reads.trading()
        except TRANSIENT as error:
            log.warning("numbers_not_read", error=str(error))

    async def run(self) -> None:
        """Look often, check at the interval and at once when something changed, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask())
            group.create_task(self._look_and_check())

    async def _ask(self) -> None:
        while True:
            await self.sight.ask()
            await self._process.clock.sleep(min(_ASK_SECONDS, self._interval))

    async def _look_and_check(self) -> None:
        due = 0.0
        started = False
        while True:
            self.status()
            self._look()
            await self._answer_for_services()
            begins = not started and self._process.components.is_ready("ledger")
            if begins or self._changed() or self._process.clock.monotonic() >= due:
                started = started or begins
                due = self._process.clock.monotonic() + self._interval
                await self.check()
            await self._process.clock.sleep(self._look_interval)

    def _changed(self) -> bool:
        view = self.view()
        services = ((s.name, s.status) for s in view.services)
        shown = (*services, *((p.name, p.status) for p in view.parts))
        changed = shown != self._shown or (self._store.holds and self._recovery.news)
        self._shown = shown
        return changed

    async def check(self) -> None:
        """Make one health check and tell what changed."""
        self.checks += 1
        self._metrics.health_checks.inc()
        answers = await self._database.answers()
        self._process.components.set("postgres", answers, "does not answer")
        await self.refresh()
        now = self._now()
        if answers and self._store.holds and self._process.components.is_ready("ledger"):
            # not before: what shows for some seconds only would be over when the lease comes
            await self._recovery.take(now.timestamp())
        view = self.view()
        self.current_alerts(view)
        self._show()
        stored = answers and self._process.components.is_ready("ledger")
        if stored:
            stored = await self._tell(view, now)
        leads = self._store.leads
        at = now.timestamp()
        await self._desk.look(self._alerts, at, leads=leads, stored=stored)
        if stored and leads:
            await self._recovery.look(view, self.sight, self.stored, at)
        self.sight.forget(now)

    def _now(self) -> datetime:
        return self._process.clock.now()

    def _look(self) -> None:
        self.sight.look()
        sinks = self.sight.sinks
        waiting = max((s.waiting_seconds for s in sinks), default=0.0)
        self._metrics.sink_waiting.set(waiting)
        if waiting > self._flush_interval:
            self._process.degraded["ledger"] = f"a batch waits for {waiting:.0f} s to be written"
        else:
            self._process.degraded.pop("ledger", None)
        self._process.progress["events_recorded"] = float(sum(s.recorded for s in sinks))
        self._process.progress["sink_pending"] = float(sum(s.pending for s in sinks))

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
        for name, share in self.sight.shares.items():
            self._metrics.stream_share.labels(name).set(share)
        self._metrics.market_age.set(self.sight.market_age(self._now().timestamp()))

    async def _tell(self, view: SystemView, now: datetime) -> bool:
        """Store and publish; False when PostgreSQL did not take it."""
        try:
            async with asyncio.timeout(_DATABASE_SECONDS):
                changed = await self._store.tell(view, self.sight.heartbeats(), now)
        except Fenced:
            return False
        except TRANSIENT as error:
            self._metrics.errors.labels("health").inc()
            log.warning("health_not_stored", error=str(error))
            return False
        self._metrics.published.inc(changed)
        return True
