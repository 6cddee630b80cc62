"""The one place where analytics is wired."""

from __future__ import annotations

import asyncio

from quantum.analytics.v1 import analytics_service_pb2_grpc as rpc

from services.analytics.consumers import Sink
from services.analytics.core.health import Expected, Limits
from services.analytics.health_store import HealthStore
from services.analytics.learning.views import LearningViews
from services.analytics.learning.wiring import learner
from services.analytics.ledger_spans import LedgerSpans
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.peers import Peers
from services.analytics.policy_copy import PolicyCopy
from services.analytics.policy_store import PolicyStore
from services.analytics.rebalance_requests import RebalanceRequests
from services.analytics.servicer import AnalyticsServicer
from services.analytics.settings import AnalyticsSettings
from services.analytics.store import LedgerStore
from services.analytics.views import Views
from services.analytics.watch import HealthWatch
from services.catalog import subjects
from services.catalog.processes import SERVICES
from services.catalog.processes import process as process_names
from services.kit.bus import Bus
from services.kit.db import TRANSIENT, Database
from services.kit.lease import Lease
from services.kit.logs import get_logger
from services.kit.migrate import missing
from services.kit.outbox import OutboxRelay
from services.kit.process import Build, Process
from services.kit.server import Servicers

log = get_logger(__name__)

SCHEMA = "analytics"
MIGRATIONS = "services.analytics.migrations"

_RETRY_SECONDS = 0.5
_SOURCES = (
    (subjects.EVENTS.name, subjects.LEDGER_CONSUMER, subjects.ALL_EVENTS),
    (subjects.LIVE.name, subjects.LEDGER_LIVE_CONSUMER, subjects.ALL_SIGNALS),
    (subjects.LIVE.name, subjects.LEDGER_PREDICTION_CONSUMER, subjects.ALL_PREDICTIONS),
    (subjects.LIVE.name, subjects.LEDGER_SHADOW_CONSUMER, subjects.ALL_SHADOW_PREDICTIONS),
    (subjects.LIVE.name, subjects.LEDGER_MODEL_CONSUMER, subjects.ALL_MODEL_CHANGES),
)
"""Stream, durable consumer and subject of everything that goes into the ledger."""


def build_with(settings: AnalyticsSettings) -> Build:
    """Return the function that wires a process with these settings."""

    async def build(process: Process) -> Servicers:
        for name in ("postgres", "nats", "migrations", "ledger"):
            process.components.set(name, False, "starting")
        database = await Database.connect(
            settings.database,
            schema=SCHEMA,
            application_name=process.instance,
            min_size=0,
            max_size=6,
        )
        process.on_stop(database.close)
        metrics = AnalyticsMetrics(process.metrics)
        views = Views(database)
        watch = _watch(process, settings, database, views, metrics)
        process.spawn("health", watch.run())
        policies = PolicyStore(database, settings.first_policy)
        changed = asyncio.Event()
        process.spawn(
            "ledger", _run_ledger(process, settings, database, watch, metrics, policies, changed)
        )
        servicer = AnalyticsServicer(
            process=process,
            settings=settings,
            views=views,
            watch=watch,
            policies=policies,
            policy_changed=changed.set,
            ask_rebalance=RebalanceRequests(database).ask,
            learning=LearningViews(database),
        )
        return [(rpc.add_AnalyticsServiceServicer_to_server, servicer)]

    return build


def _watch(
    process: Process,
    settings: AnalyticsSettings,
    database: Database,
    views: Views,
    metrics: AnalyticsMetrics,
) -> HealthWatch:
    lease = Lease(
        database,
        "health",
        process.instance,
        process.clock,
        ttl=3 * settings.health_check_interval,
    )
    process.on_stop(lease.release)
    names = [process_names(key) for key in settings.expected]
    others = [n.name for n in names if n in SERVICES and n != process.names]
    peers = Peers(settings.mesh_target, others, process.telemetry)
    process.on_stop(peers.close)
    return HealthWatch(
        process=process,
        database=database,
        views=views,
        store=HealthStore(database, lease),
        metrics=metrics,
        expected=[Expected(n.name, n.health_key) for n in names],
        limits=Limits(
            heartbeat_timeout=settings.heartbeat_timeout_seconds,
            forget_replica_after=4 * settings.heartbeat_timeout_seconds,
        ),
        interval=settings.health_check_interval,
        flush_interval=settings.analytics_flush_interval,
        look_interval=settings.event_bus_block_ms / 1000,
        peers=peers,
    )


async def _run_ledger(
    process: Process,
    settings: AnalyticsSettings,
    database: Database,
    watch: HealthWatch,
    metrics: AnalyticsMetrics,
    policies: PolicyStore,
    policy_changed: asyncio.Event,
) -> None:
    """Connect to what the ledger needs, in the background: health answers meanwhile."""
    bus = await process.connect_bus()
    watch.watch_bus(bus)
    follower = await bus.follow(subjects.LIVE.name, subjects.ALL_HEARTBEATS, watch.book.hear)
    await follower.caught_up.wait()
    watch.book.live = True
    await _await_schema(process, settings)
    process.spawn("policy", PolicyCopy(policies, bus, policy_changed).run())
    store = LedgerStore(database)
    await store.partitions.ensure_wall(process.clock.now())
    await _start_sinks(process, settings, bus, store, watch, metrics)
    process.spawn("learning", learner(process, settings, database, bus, metrics).run())
    relay = OutboxRelay(database, bus, subjects.EVENTS.name, telemetry=process.telemetry)

    async def flush() -> None:
        await relay.flush(1.0)

    process.on_drain(flush)
    process.components.set("ledger", True)
    await relay.run()


async def _await_schema(process: Process, settings: AnalyticsSettings) -> None:
    while True:
        try:
            open_files = await missing(settings.database, SCHEMA, MIGRATIONS)
        except TRANSIENT as error:
            process.components.set("postgres", False, f"does not answer: {error}")
        else:
            process.components.set("postgres", True)
            reason = f"{len(open_files)} not applied; run `python -m services.analytics migrate`"
            process.components.set("migrations", not open_files, reason)
            if not open_files:
                return
        await process.clock.sleep(_RETRY_SECONDS)


async def _start_sinks(
    process: Process,
    settings: AnalyticsSettings,
    bus: Bus,
    store: LedgerStore,
    watch: HealthWatch,
    metrics: AnalyticsMetrics,
) -> None:
    for stream, consumer, subject in _SOURCES:
        sink = Sink(
            stream=stream,
            store=store,
            bus=bus,
            clock=process.clock,
            metrics=metrics,
            spans=LedgerSpans(process.telemetry),
        )
        watch.sinks.append(sink)
        worker = await sink.work(consumer, subject, batch=settings.backlog_batch)
        process.on_drain(worker.stop)
        log.info("sink_started", stream=stream, consumer=consumer)
