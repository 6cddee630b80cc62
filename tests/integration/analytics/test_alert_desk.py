"""A new teller of alerts first reads what was told before it."""

from __future__ import annotations

from services.analytics.alerts.desk import AlertDesk
from services.analytics.alerts.post import Post
from services.analytics.alerts.store import AlertStore
from services.analytics.app import MIGRATIONS, SCHEMA
from services.analytics.core.alerting.kinds import RUNBOOK, Severity
from services.analytics.core.alerts import plain
from services.analytics.metrics import AnalyticsMetrics
from services.kit.clock import SystemClock
from services.kit.observe.metrics import Metrics
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Lease
from services.kit.postgres.migrate import migrate

DOWN = plain("PartDown", "nats", "does not answer", 100.0)
FOUND = {DOWN.key: DOWN}


def new_desk(store: AlertStore) -> AlertDesk:
    clock, metrics = SystemClock(), AnalyticsMetrics(Metrics("test"))
    post = Post([], clock=clock, metrics=metrics, send_from=Severity.LOW)
    return AlertDesk(store=store, post=post, runbook_base=RUNBOOK)


async def test_what_was_told_before_is_read_before_anything_is_told(
    ledger_dsn: str, database: Database
) -> None:
    """PostgreSQL may answer some looks late: a new process then waits, but not for ever."""
    await migrate(ledger_dsn, SCHEMA, MIGRATIONS)
    lease = Lease(database, "health", "test", SystemClock())
    assert await lease.take()
    store = AlertStore(database, lease, RUNBOOK)
    await new_desk(store).look(FOUND, 100.0, leads=True, stored=True)
    (first,) = await store.open_alerts()

    late = new_desk(store)
    await late.look(FOUND, 200.0, leads=True, stored=False)
    await late.look(FOUND, 205.0, leads=True, stored=True)
    assert [a.alert_id for a in await store.open_alerts()] == [first.alert_id]

    never = new_desk(store)
    await never.look(FOUND, 300.0, leads=True, stored=False)
    assert never.open == {}
    await never.look(FOUND, 311.0, leads=True, stored=False)
    assert [alert.told for alert in never.open.values()] == [True]
