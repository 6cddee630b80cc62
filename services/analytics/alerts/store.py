"""Alerts and their messages in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from services.analytics.alerts.rows import details, fact, moment, open_from_row
from services.analytics.core.alerting.book import OpenAlert
from services.analytics.core.alerting.kinds import runbook_of
from services.analytics.core.alerting.message import Notice, State, notice
from services.analytics.views import Cursor
from services.kit.postgres import outbox
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Lease

OWN = "analytics"
FOREIGN = "alertmanager"

_RAISE = """
insert into alerts as a (alert_id, alert_type, severity, component, message, details, runbook,
    source, created_at, updated_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict (source, alert_type, component) where not resolved
do update set severity = excluded.severity, message = excluded.message,
    details = excluded.details, updated_at = excluded.updated_at
returning alert_id
"""
_CHANGE = """
update alerts set severity = $2, message = $3, details = $4, updated_at = $5 where alert_id = $1
"""
_RESOLVE = """
update alerts set resolved = true, resolved_at = $2, updated_at = $2
where alert_id = $1 and not resolved
"""
_RESOLVE_FOREIGN = """
update alerts set resolved = true, resolved_at = $3, updated_at = $3
where source = 'alertmanager' and alert_type = $1 and component = $2 and not resolved
"""
_ACKNOWLEDGE = """
update alerts set acknowledged = true, acknowledged_by = $2, note = $3, acknowledged_at = $4
where alert_id = $1 and not acknowledged
"""
_DELIVERY = """
insert into alert_deliveries as d (alert_id, channel, state, status, attempts, error, tried_at)
select $1, $2, $3, $4, $5, $6, $7 where exists (select from alerts where alert_id = $1)
on conflict (alert_id, channel, state) do update set status = excluded.status,
    attempts = excluded.attempts, error = excluded.error, tried_at = excluded.tried_at
where d.status <> 'delivered'
"""
_OPEN = "select * from alerts where not resolved order by created_at desc, alert_id desc limit 500"
_WAITING = """
select d.channel, d.state, a.* from alert_deliveries d join alerts a using (alert_id)
where d.status = 'waiting' order by a.created_at, d.state
"""
_LIST = """
select * from alerts
where ($1 or not resolved) and ($2 = '' or severity = $2) and starts_with(alert_id, $3)
    and ($4::timestamptz is null or (created_at, alert_id) < ($4, $5))
order by created_at desc, alert_id desc limit $6
"""
_DELIVERIES = """
select * from alert_deliveries where alert_id = any($1) order by tried_at nulls last, channel
"""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a message through a channel stands."""

    alert_id: str
    channel: str
    state: State
    status: str
    """waiting, delivered or failed."""
    attempts: int = 0
    error: str = ""
    tried_at: float | None = None
    """Wall seconds."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be written of one alert."""

    entry: OpenAlert
    kind: str
    """raised, changed or resolved."""
    at: float


class AlertStore:
    """Written by the one replica that holds the lease; read by all."""

    def __init__(self, database: Database, lease: Lease, runbook_base: str) -> None:
        self._database = database
        self._lease = lease
        self._runbook_base = runbook_base

    async def save(self, changes: Sequence[Change]) -> dict[str, str]:
        """Write changes and their facts; return the stored id of each raised alert by its own.

        Fenced when another replica holds the lease.
        """
        ids: dict[str, str] = {}
        async with self._database.transaction() as connection:
            await self._lease.fence(connection)
            facts = []
            for change in changes:
                entry = change.entry
                if change.kind == "raised":
                    ids[entry.alert_id] = await self._raise(connection, entry, OWN, change.at)
                    if ids[entry.alert_id] == entry.alert_id:
                        facts.append(fact(entry, State.RAISED, change.at))
                elif change.kind == "changed":
                    await connection.execute(_CHANGE, *_changed(entry, change.at))
                else:
                    await connection.execute(_RESOLVE, entry.alert_id, moment(change.at))
                    facts.append(fact(entry, State.RESOLVED, change.at))
            await outbox.put(connection, facts)
        return ids

    async def _raise(self, connection: Any, entry: OpenAlert, source: str, at: float) -> str:
        alert = entry.alert
        return str(
            await connection.fetchval(
                _RAISE,
                entry.alert_id,
                alert.type,
                alert.severity.value,
                alert.component,
                alert.message,
                details(alert),
                runbook_of(alert.type, self._runbook_base),
                source,
                moment(alert.since),
                moment(at),
            )
        )

    async def record(self, deliveries: Iterable[Delivery]) -> None:
        """Write how messages stand."""
        rows = [
            (
                d.alert_id,
                d.channel,
                d.state.value,
                d.status,
                d.attempts,
                d.error,
                None if d.tried_at is None else moment(d.tried_at),
            )
            for d in deliveries
        ]
        if rows:
            await self._database.pool.executemany(_DELIVERY, rows)

    async def waiting(self, now: float) -> list[tuple[str, Notice]]:
        """Return messages that were not sent yet, with their channels."""
        rows = await self._database.pool.fetch(_WAITING)
        found = []
        for row in rows:
            state = State(row["state"])
            time = row["resolved_at"] or row["created_at"]
            at = time.timestamp() if state is State.RESOLVED else now
            entry = open_from_row(row)
            found.append((str(row["channel"]), notice(entry, state, at, self._runbook_base)))
        return found

    async def open_alerts(self) -> list[OpenAlert]:
        """Return our own alerts that were not resolved."""
        rows = await self._database.pool.fetch(_OPEN)
        return [open_from_row(row) for row in rows if row["source"] == OWN]

    async def open_rows(self) -> list[Any]:
        """Return all alerts that were not resolved, the newest first."""
        return list(await self._database.pool.fetch(_OPEN))

    async def raise_foreign(self, entry: OpenAlert, now: float) -> None:
        """Write an alert that Alertmanager told of; a repeated one changes nothing but its text."""
        async with self._database.transaction() as connection:
            stored = await self._raise(connection, entry, FOREIGN, now)
            if stored == entry.alert_id:
                await outbox.put(connection, [fact(entry, State.RAISED, now)])

    async def resolve_foreign(self, entry: OpenAlert, now: float) -> None:
        """Write that Alertmanager told of the end of an alert."""
        alert = entry.alert
        await self._database.pool.execute(
            _RESOLVE_FOREIGN, alert.type, alert.component, moment(now)
        )

    async def acknowledge(self, alert_id: str, by: str, note: str, now: float) -> bool:
        """Say who looks after an alert; the first stays. False when there is no such alert."""
        await self._database.pool.execute(_ACKNOWLEDGE, alert_id, by, note, moment(now))
        found = await self._database.pool.fetchval(
            "select true from alerts where alert_id = $1", alert_id
        )
        return bool(found)

    async def page(
        self, *, resolved: bool, severity: str, begins: str, cursor: Cursor, limit: int
    ) -> tuple[list[Any], dict[str, list[Any]], Cursor | None]:
        """Return alerts, their deliveries by id, and where the next page starts."""
        rows = await self._database.pool.fetch(
            _LIST, resolved, severity, begins, cursor.time, cursor.last_id, limit + 1
        )
        page = list(rows[:limit])
        deliveries: dict[str, list[Any]] = {}
        sent = await self._database.pool.fetch(_DELIVERIES, [r["alert_id"] for r in page])
        for row in sent:
            deliveries.setdefault(row["alert_id"], []).append(row)
        more = Cursor(page[-1]["created_at"], page[-1]["alert_id"]) if rows[limit:] else None
        return page, deliveries, more


def _changed(entry: OpenAlert, at: float) -> tuple[Any, ...]:
    alert = entry.alert
    return (entry.alert_id, alert.severity.value, alert.message, details(alert), moment(at))
