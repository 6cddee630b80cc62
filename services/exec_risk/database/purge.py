"""Forgets answered requests: a repeated id is answered from here only for so long."""

from __future__ import annotations

from datetime import timedelta

from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.kit.postgres.db import TRANSIENT, Database

log = get_logger(__name__)

KEEP = timedelta(days=7)
_PAUSE_SECONDS = 3600.0
_PURGE = "delete from requests where answered_at < clock_timestamp() - $1::interval"


async def purge_once(database: Database) -> None:
    """Delete requests that were answered longer ago than is kept."""
    await database.pool.execute(_PURGE, KEEP)


async def purge_requests(database: Database, clock: Clock) -> None:
    """Do so once an hour, for ever; a database that is away is waited for."""
    while True:
        try:
            await purge_once(database)
        except TRANSIENT as error:
            log.warning("requests_not_purged", error=str(error))
        await clock.sleep(_PAUSE_SECONDS)
