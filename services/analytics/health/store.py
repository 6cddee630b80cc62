"""Health in PostgreSQL: last heartbeats for people, and one `health.status` fact per change."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from services.analytics.core.health import Heartbeat, Status, SystemView
from services.analytics.health.facts import status_changed
from services.kit.postgres import outbox
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Lease

_HEARTBEAT = """
insert into heartbeats (service, instance, status, reason, seen_at, uptime_seconds, cpu_percent,
    memory_percent, progress)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (service, instance) do update set status = excluded.status, reason = excluded.reason,
    seen_at = excluded.seen_at, uptime_seconds = excluded.uptime_seconds,
    cpu_percent = excluded.cpu_percent, memory_percent = excluded.memory_percent,
    progress = excluded.progress
"""
_STATUS = """
insert into service_status (service, status, reason, since) values ($1, $2, $3, $4)
on conflict (service) do update set status = excluded.status, reason = excluded.reason,
    since = excluded.since
"""


class HealthStore:
    """Written by the one replica that holds the lease."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease
        self._leads = True

    async def tell(self, view: SystemView, beats: Iterable[Heartbeat], now: datetime) -> int:
        """Store what is known and publish what changed; return how many changes there were.

        0 when another replica holds the lease; Fenced when it was lost meanwhile.
        """
        if not await self._lead():
            return 0
        async with self._database.transaction() as connection:
            await self._lease.fence(connection)
            await connection.executemany(_HEARTBEAT, [_heartbeat_row(beat) for beat in beats])
            return await self._publish_changes(connection, view, now)

    @property
    def leads(self) -> bool:
        """True while this replica watches: it held the lease last, or nobody knows who does."""
        return self._leads

    @property
    def holds(self) -> bool:
        """True once this replica has the lease, until it hears that it lost it."""
        return self._leads and self._lease.token > 0

    async def _lead(self) -> bool:
        if self._lease.token and await self._lease.renew():
            self._leads = True
        else:
            self._leads = await self._lease.take()
        return self._leads

    async def _publish_changes(self, connection: Any, view: SystemView, now: datetime) -> int:
        rows = await connection.fetch("select service, status from service_status")
        before = {row["service"]: Status[row["status"]] for row in rows}
        messages = []
        parts = [(s.name, s.status, s.reason) for s in view.services]
        parts += [(p.name, p.status, p.reason) for p in view.parts]
        for name, status, reason in parts:
            if before.get(name) is not status:
                await connection.execute(_STATUS, name, status.name, reason, now)
                messages.append(status_changed(name, before.get(name), status, reason, now))
        await outbox.put(connection, messages)
        return len(messages)


def _heartbeat_row(beat: Heartbeat) -> tuple[Any, ...]:
    return (
        beat.service,
        beat.instance,
        beat.status.name,
        beat.reason,
        datetime.fromtimestamp(beat.seen_at, UTC),
        beat.uptime_seconds,
        beat.cpu_percent,
        beat.memory_percent,
        json.dumps(dict(beat.progress)),
    )
