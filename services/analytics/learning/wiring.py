"""Puts the learning loop together."""

from __future__ import annotations

from collections.abc import Callable

from services.analytics.learning.jobs import Jobs
from services.analytics.learning.learner import Learner
from services.analytics.learning.model_calls import ModelCalls
from services.analytics.learning.outcomes import Outcomes
from services.analytics.learning.references import References
from services.analytics.learning.shares import ModelShares
from services.analytics.learning.store import LearningStore
from services.analytics.learning.views import LearningViews
from services.analytics.learning.window_watch import WindowWatch
from services.analytics.metrics import AnalyticsMetrics, LearningMetrics
from services.analytics.policy.store import PolicyStore
from services.analytics.settings import AnalyticsSettings
from services.catalog import subjects
from services.kit.bus.bus import Bus
from services.kit.bus.objects import Objects
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Lease
from services.kit.process import Process
from services.trade.barrier_label import LabelRule

_LEASE_SECONDS = 10.0


def learner(
    process: Process,
    settings: AnalyticsSettings,
    database: Database,
    bus: Bus,
    metrics: AnalyticsMetrics,
    policies: PolicyStore,
    policy_changed: Callable[[], None],
) -> Learner:
    """Return the loop; it learns while this replica holds the lease `learning`.

    `policy_changed` is called after a version of the policy was made.
    """
    lease = Lease(database, "learning", process.instance, process.clock, ttl=_LEASE_SECONDS)
    process.on_stop(lease.release)
    models = ModelCalls(settings.mesh_target)
    process.on_stop(models.close)
    views, rule = LearningViews(database), LabelRule()
    counted = LearningMetrics(process.metrics, metrics.errors)
    store = LearningStore(database, lease, bucket_ms=settings.clm_bucket_minutes * 60_000)
    windows = WindowWatch(
        store=store,
        views=views,
        references=References(views, Objects(bus, subjects.MODELS_BUCKET)),
        shares=ModelShares(policies, policy_changed, enabled=settings.clm_enabled),
        settings=settings,
    )
    return Learner(
        bus=bus,
        clock=process.clock,
        lease=lease,
        store=store,
        views=views,
        outcomes=Outcomes(store=store, settings=settings, metrics=counted, rule=rule),
        windows=windows,
        jobs=Jobs(bus=bus, views=views, settings=settings, rule=rule),
        models=models,
        settings=settings,
        metrics=counted,
        degraded=process.degraded,
    )
