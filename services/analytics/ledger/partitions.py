"""Monthly partitions of `events`, made before the first event of a month is written."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from services.kit.observe.logs import get_logger
from services.kit.postgres.db import Database
from services.trade.times import DAY_MS, to_datetime

log = get_logger(__name__)

_LOCK = "select pg_advisory_xact_lock(hashtext('analytics.partitions'))"
_KNOWN = """
select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = 'events'::regclass
"""


def month_of(time_ms: int) -> datetime:
    """Return the first moment of the UTC month that holds a market time."""
    return to_datetime(time_ms).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(month: datetime) -> datetime:
    """Return the first moment of the month after."""
    return (month + timedelta(days=32)).replace(day=1)


def partition_name(month: datetime) -> str:
    """Return the table name of a month's partition."""
    return f"events_{month:%Y_%m}"


class Partitions:
    """Makes partitions and remembers which exist."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: set[str] = set()

    async def ensure(self, times_ms: Iterable[int]) -> None:
        """Make the partitions of these market times, and of the month after each."""
        days = {time // DAY_MS for time in times_ms}
        months = {month_of(day * DAY_MS) for day in days}
        wanted = months | {next_month(month) for month in months}
        missing = [m for m in sorted(wanted) if partition_name(m) not in self._known]
        if missing:
            await self._create(missing)

    async def ensure_wall(self, now: datetime) -> None:
        """Make the partitions for events that carry wall time (health)."""
        await self.ensure([int(now.astimezone(UTC).timestamp()) * 1000])

    async def _create(self, months: list[datetime]) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(_LOCK)
            existing = {row["relname"] for row in await connection.fetch(_KNOWN)}
            for month in months:
                name = partition_name(month)
                if name in existing:
                    continue
                # Names and bounds are made of a date; DDL takes no parameters.
                await connection.execute(
                    f"create table {name} partition of events for values"
                    f" from ('{month:%Y-%m-%d}+00') to ('{next_month(month):%Y-%m-%d}+00')"
                )
                log.info("partition_created", name=name)
            existing |= {partition_name(m) for m in months}
        self._known = existing
