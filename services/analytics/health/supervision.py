"""Wires health, alerts and self-healing, for app.py."""

from __future__ import annotations

from dataclasses import dataclass

from services.analytics.alerts.desk import AlertDesk
from services.analytics.alerts.parts import channels
from services.analytics.alerts.post import Post
from services.analytics.alerts.receiver import Receiver
from services.analytics.alerts.store import AlertStore
from services.analytics.core.healing.rules import HealingLimits
from services.analytics.core.health import Expected, Limits
from services.analytics.core.standing import Bounds
from services.analytics.core.work import WorkLimits
from services.analytics.health.part_probes import GatewayProbe
from services.analytics.health.peers import Peers
from services.analytics.health.reads import HealthReads
from services.analytics.health.recovery import HealingOptions, Recovery
from services.analytics.health.recovery_store import RecoveryStore
from services.analytics.health.sight import Sight
from services.analytics.health.store import HealthStore
from services.analytics.health.watch import HealthWatch
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.modes.service_modes import ServiceModes
from services.analytics.settings import AnalyticsSettings
from services.analytics.views import Views
from services.catalog.processes import SERVICES
from services.catalog.processes import process as process_names
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Lease
from services.kit.process import Process


@dataclass(frozen=True, slots=True)
class Supervision:
    """What looks after the system."""

    watch: HealthWatch
    post: Post
    alerts: AlertStore
    recovery: Recovery
    receiver: Receiver | None
    modes: ServiceModes


def supervise(
    process: Process,
    settings: AnalyticsSettings,
    database: Database,
    views: Views,
    metrics: AnalyticsMetrics,
) -> Supervision:
    """Make the parts; nothing runs yet."""
    lease = Lease(
        database,
        "health",
        process.instance,
        process.clock,
        ttl=2 * settings.health_check_interval,
    )
    process.on_stop(lease.release)
    store = AlertStore(database, lease, settings.alert_runbook_url)
    post = Post(
        channels(settings),
        clock=process.clock,
        metrics=metrics,
        send_from=settings.alert_send_from,
    )
    recovery = Recovery(
        store=RecoveryStore(database, lease), metrics=metrics, options=_healing(settings)
    )
    modes = ServiceModes(process.clock)
    watch = HealthWatch(
        process=process,
        database=database,
        views=views,
        reads=HealthReads(database),
        store=HealthStore(database, lease),
        alerts=store,
        desk=AlertDesk(store=store, post=post, runbook_base=settings.alert_runbook_url),
        recovery=recovery,
        modes=modes,
        sight=_sight(process, settings),
        metrics=metrics,
        bounds=Bounds(
            no_trades_signals=settings.no_trades_signals,
            large_loss_usd=settings.large_loss_usd,
            memory_percent=settings.memory_threshold_percent,
        ),
        interval=settings.health_check_interval,
        flush_interval=settings.analytics_flush_interval,
        look_interval=settings.event_bus_block_ms / 1000,
    )
    receiver = _receiver(process, settings, store)
    return Supervision(watch, post, store, recovery, receiver, modes)


def _sight(process: Process, settings: AnalyticsSettings) -> Sight:
    names = [process_names(key) for key in settings.expected]
    others = [n.name for n in names if n in SERVICES and n != process.names]
    peers = Peers(settings.mesh_target, others, process.telemetry)
    process.on_stop(peers.close)
    return Sight(
        process=process,
        expected=[Expected(n.name, n.health_key) for n in names],
        limits=Limits(
            heartbeat_timeout=settings.heartbeat_timeout_seconds,
            forget_replica_after=4 * settings.heartbeat_timeout_seconds,
        ),
        work=WorkLimits(
            stuck_seconds=settings.stuck_seconds, still_seconds=settings.market_still_seconds
        ),
        peers=peers,
        gateway=GatewayProbe(settings.gateway_probe_url),
    )


def _healing(settings: AnalyticsSettings) -> HealingOptions:
    return HealingOptions(
        enabled=settings.self_healing_enabled,
        restarts=settings.auto_restart_enabled,
        limits=HealingLimits(
            cooldown_seconds=settings.recovery_cooldown_seconds,
            most=settings.recovery_limit,
            window_seconds=settings.recovery_window_seconds,
        ),
        heartbeat_timeout=settings.heartbeat_timeout_seconds,
        expected=tuple(process_names(key).name for key in settings.expected),
    )


def _receiver(process: Process, settings: AnalyticsSettings, store: AlertStore) -> Receiver | None:
    token = settings.alert_receiver_token_file
    if not settings.alert_receiver_address or token is None:
        return None
    return Receiver(
        store=store, clock=process.clock, address=settings.alert_receiver_address, token=token
    )
