"""Outbox: facts are written with the state that they tell of, and published from there.

The relay publishes open rows in the order of their ids, with the row's message id, so that a crash
between publishing and marking only sends again what the stream already drops as a duplicate. When
the stream's end lies below what rows say they got (the server lost data), those are sent again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta

import asyncpg

from services.kit.bus import Bus, BusUnavailable
from services.kit.db import TRANSIENT, Database
from services.kit.logs import get_logger
from services.kit.message import Outgoing

log = get_logger(__name__)

KEEP = timedelta(days=30)
_BATCH = 500
_POLL_SECONDS = 0.2

_WAIT_FOR: tuple[type[BaseException], ...] = (BusUnavailable, *TRANSIENT)

_PUT = """
insert into outbox (message_id, subject, data, headers)
select * from unnest($1::text[], $2::text[], $3::bytea[], $4::jsonb[])
on conflict (message_id) do nothing
"""
_OPEN = """
select id, message_id, subject, data, headers from outbox
where published_at is null order by id limit $1
"""
_MARK = """
update outbox as o set sequence = m.sequence, published_at = clock_timestamp()
from unnest($1::bigint[], $2::bigint[]) as m (id, sequence) where o.id = m.id
"""
_REOPEN = "update outbox set published_at = null, sequence = null where sequence > $1 returning id"
_PURGE = "delete from outbox where published_at < clock_timestamp() - $1::interval"


async def put(connection: asyncpg.Connection, messages: Sequence[Outgoing]) -> None:
    """Write facts in the caller's transaction; a message id that is there already is kept."""
    if messages:
        await connection.execute(
            _PUT,
            [m.message_id for m in messages],
            [m.subject for m in messages],
            [m.data for m in messages],
            [json.dumps(m.headers) for m in messages],
        )


class OutboxRelay:
    """Publishes the outbox of one schema. Of several relays one works, the others wait."""

    def __init__(self, database: Database, bus: Bus, stream: str) -> None:
        self._database = database
        self._bus = bus
        self._stream = stream
        self._wake = asyncio.Event()
        self.open = 0
        """Rows that were not published at the last look."""
        self.published = 0
        """Rows published since the start."""

    def wake(self) -> None:
        """Look now: something was committed."""
        self._wake.set()

    async def run(self) -> None:
        """Relay for ever; a lost database or bus is waited for."""
        while True:
            try:
                async with self._database.pool.acquire() as lock:
                    await self._hold_lock(lock)
                    await self._reopen_lost()
                    while True:
                        await self._relay_open()
                        await self._pause()
                        await lock.execute("select 1")
            except _WAIT_FOR as error:
                log.warning("outbox_waits", schema=self._database.schema, error=str(error))
                await asyncio.sleep(_POLL_SECONDS)

    async def flush(self, deadline: float) -> bool:
        """Wait until nothing is open; False when it takes longer than the deadline."""
        try:
            async with asyncio.timeout(deadline):
                while await self._database.pool.fetchval(
                    "select true from outbox where published_at is null limit 1"
                ):
                    self.wake()
                    await asyncio.sleep(0.02)
        except TRANSIENT:
            return False
        return True

    async def purge(self) -> None:
        """Forget rows that were published longer ago than is kept."""
        await self._database.pool.execute(_PURGE, KEEP)

    async def _hold_lock(self, connection: asyncpg.Connection) -> None:
        key = f"{self._database.schema}.outbox"
        while not await connection.fetchval("select pg_try_advisory_lock(hashtext($1))", key):
            await asyncio.sleep(_POLL_SECONDS)

    async def _reopen_lost(self) -> None:
        last = await self._bus.last_sequence(self._stream)
        lost = await self._database.pool.fetch(_REOPEN, last)
        if lost:
            log.error("stream_lost_messages", stream=self._stream, sent_again=len(lost))

    async def _relay_open(self) -> None:
        while True:
            rows = await self._database.pool.fetch(_OPEN, _BATCH)
            self.open = len(rows)
            if not rows:
                return
            messages = [
                Outgoing(r["subject"], r["data"], r["message_id"], json.loads(r["headers"]))
                for r in rows
            ]
            sequences = await self._bus.publish_all(messages)
            await self._database.pool.execute(_MARK, [r["id"] for r in rows], sequences)
            self.published += len(rows)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._wake.clear()
