"""The one place where analytics is wired."""

from __future__ import annotations

import asyncio

from quantum.analytics.v1 import analytics_service_pb2_grpc as rpc

from services.analytics.consumers import NEVER_GIVE_UP, Sink
from services.analytics.fund.loop import FundLoop
from services.analytics.fund.rebalance_requests import RebalanceRequests
from services.analytics.health.score import HealthScore
from services.analytics.health.sight import Sight
from services.analytics.health.supervision import Supervision, supervise
from services.analytics.health.watch import HealthWatch
from services.analytics.learning.views import LearningViews
from services.analytics.learning.wiring import learner
from services.analytics.ledger.candles import CandleStore
from services.analytics.ledger.checks import LedgerChecks
from services.analytics.ledger.spans import LedgerSpans
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.policy.copy import PolicyCopy
from services.analytics.policy.store import PolicyStore
from services.analytics.reports.servicer import ReportDesk
from services.analytics.reports.views import ReportViews
from services.analytics.servicer import AnalyticsServicer
from services.analytics.settings import AnalyticsSettings
from services.analytics.store import LedgerStore
from services.analytics.views import Views
from services.catalog import subjects
from services.kit.bus.bus import Bus
from services.kit.observe.logs import get_logger
from services.kit.postgres.db import TRANSIENT, Database
from services.kit.postgres.lease import Lease
from services.kit.postgres.migrate import missing
from services.kit.postgres.outbox import OutboxRelay
from services.kit.process import Build, Process
from services.kit.server import Servicers

log = get_logger(__name__)

SCHEMA = "analytics"
MIGRATIONS = "services.analytics.migrations"

_RETRY_SECONDS = 0.5
_CANDLE_MESSAGES = 16
"""Messages of candles that are written at once; each holds up to a hundred or so."""
_SOURCES = (
    (subjects.EVENTS.name, subjects.LEDGER_CONSUMER, subjects.ALL_EVENTS),
    (subjects.LIVE.name, subjects.LEDGER_LIVE_CONSUMER, subjects.ALL_SIGNALS),
    (subjects.LIVE.name, subjects.LEDGER_PREDICTION_CONSUMER, subjects.ALL_PREDICTIONS),
    (subjects.LIVE.name, subjects.LEDGER_SHADOW_CONSUMER, subjects.ALL_SHADOW_PREDICTIONS),
    (subjects.LIVE.name, subjects.LEDGER_MODEL_CONSUMER, subjects.ALL_MODEL_CHANGES),
    (subjects.LIVE.name, subjects.LEDGER_UNIVERSE_CONSUMER, subjects.ALL_OPPORTUNITIES),
    (subjects.LIVE.name, subjects.LEDGER_REGIME_CONSUMER, subjects.ALL_REGIMES),
    (subjects.LIVE.name, subjects.LEDGER_OPERATOR_CONSUMER, subjects.ALL_OPERATOR_COMMANDS),
    (subjects.LIVE.name, subjects.LEDGER_GAP_CONSUMER, subjects.ALL_CANDLE_GAPS),
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
        supervision = supervise(process, settings, database, views, metrics)
        watch = supervision.watch
        process.spawn("health", watch.run())
        process.spawn("alert-post", supervision.post.run())
        if supervision.receiver is not None:
            process.spawn("alert-receiver", supervision.receiver.run())
        policies = PolicyStore(database, settings.first_policy, clock=process.clock)
        changed = asyncio.Event()
        process.spawn(
            "ledger",
            _run_ledger(process, settings, database, supervision, metrics, policies, changed),
        )
        requests = RebalanceRequests(database, enabled=settings.layers_enabled)
        servicer = AnalyticsServicer(
            process=process,
            settings=settings,
            views=views,
            watch=watch,
            reports=ReportDesk(ReportViews(database), process.clock),
            policies=policies,
            policy_changed=changed.set,
            ask_rebalance=requests.ask,
            alerts=supervision.alerts,
            learning=LearningViews(database),
            modes=supervision.modes,
        )
        return [(rpc.add_AnalyticsServiceServicer_to_server, servicer)]

    return build


async def _run_ledger(
    process: Process,
    settings: AnalyticsSettings,
    database: Database,
    supervision: Supervision,
    metrics: AnalyticsMetrics,
    policies: PolicyStore,
    policy_changed: asyncio.Event,
) -> None:
    """Connect to what the ledger needs, in the background: health answers meanwhile."""
    bus = await process.connect_bus()
    sight = supervision.watch.sight
    sight.watch_bus(bus)
    await supervision.modes.start(bus)
    follower = await bus.follow(subjects.LIVE.name, subjects.ALL_HEARTBEATS, sight.book.hear)
    await follower.caught_up.wait()
    sight.book.live = True
    await supervision.recovery.listen(bus)
    await _await_schema(process, settings)
    process.spawn("policy", PolicyCopy(policies, bus, policy_changed).run())
    store = LedgerStore(database)
    await store.partitions.ensure_wall(process.clock.now())
    fund = _fund(process, settings, supervision.watch, metrics, policies, policy_changed)
    await _start_sinks(process, settings, bus, store, sight, metrics, fund)
    candles = CandleStore(database, days=settings.analytics_candle_days)
    await _start_candles(process, bus, candles)
    process.spawn("ledger-checks", LedgerChecks(database, process.clock, metrics).run())
    learning = learner(process, settings, database, bus, metrics, policies, policy_changed.set)
    process.spawn("learning", learning.run())
    relay = OutboxRelay(database, bus, subjects.EVENTS.name, telemetry=process.telemetry)

    async def flush() -> None:
        await relay.flush(1.0)

    process.on_drain(flush)
    process.components.set("ledger", True)
    await relay.run()


def _fund(
    process: Process,
    settings: AnalyticsSettings,
    watch: HealthWatch,
    metrics: AnalyticsMetrics,
    policies: PolicyStore,
    policy_changed: asyncio.Event,
) -> FundLoop | None:
    """Start the fund's layers; None where all are switched off."""
    if not settings.layers_enabled:
        return None
    database = policies.database
    lease = Lease(database, "fund", process.instance, process.clock)
    process.on_stop(lease.release)
    loop = FundLoop(
        database=database,
        lease=lease,
        policies=policies,
        limits=settings.fund_limits,
        health=HealthScore(watch.view).now,
        changed=policy_changed.set,
        metrics=metrics,
        clock=process.clock,
    )
    process.spawn("fund", loop.run())
    return loop


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
    sight: Sight,
    metrics: AnalyticsMetrics,
    fund: FundLoop | None,
) -> None:
    for stream, consumer, subject in _SOURCES:
        sink = Sink(
            stream=stream,
            store=store,
            bus=bus,
            clock=process.clock,
            metrics=metrics,
            spans=LedgerSpans(process.telemetry),
            before_answer=None if fund is None else fund.after,
        )
        sight.sinks.append(sink)
        worker = await sink.work(consumer, subject, batch=settings.backlog_batch)
        process.on_drain(worker.stop)
        log.info("sink_started", stream=stream, consumer=consumer)


async def _start_candles(process: Process, bus: Bus, candles: CandleStore) -> None:
    worker = await bus.work(
        subjects.MARKET.name,
        subjects.LEDGER_CANDLE_CONSUMER,
        subjects.ALL_OF_MARKET,
        candles.handle,
        batch=_CANDLE_MESSAGES,
        max_deliver=NEVER_GIVE_UP,
    )
    process.on_drain(worker.stop)
