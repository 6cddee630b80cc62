"""Outbox: facts are written with the state that they tell of, and published from there.

A writer hands its committed rows to the relay of its process, which publishes them at once in the
order of their ids. What nobody handed over, or what could not be sent, is found by a look at the
table. Rows are published under their message id, so that a crash between publishing and marking,
or two relays with the same row, only send again what the stream drops as a duplicate. When the
stream's end lies below what rows say they got (the server lost data), those are sent again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg

from services.catalog.subjects import HEADER_TRACE, HEADER_TYPE
from services.kit.bus.bus import Bus, BusUnavailable
from services.kit.bus.message import Outgoing
from services.kit.observe import span_attributes
from services.kit.observe.logs import get_logger
from services.kit.observe.telemetry import SpanKind, Telemetry, now
from services.kit.observe.trace_context import TraceContext, sampled_context_of, span_id_of
from services.kit.postgres.db import TRANSIENT, Database

log = get_logger(__name__)

KEEP = timedelta(days=30)
_BATCH = 500
_POLL_SECONDS = 0.2
_MARK_SECONDS = 0.05
"""Published rows are marked together: until then a crash only makes duplicates."""

_WAIT_FOR: tuple[type[BaseException], ...] = (BusUnavailable, *TRANSIENT)

_OPEN = """
select id, message_id, subject, data, headers from outbox
where published_at is null and id <> all($2::bigint[]) order by id limit $1
"""
_MARK = """
update outbox as o set sequence = m.sequence, published_at = clock_timestamp()
from unnest($1::bigint[], $2::bigint[]) as m (id, sequence) where o.id = m.id
"""
_REOPEN = "update outbox set published_at = null, sequence = null where sequence > $1 returning id"
_PURGE = "delete from outbox where published_at < clock_timestamp() - $1::interval"


Row = tuple[int, Outgoing]
"""A row's id and its message."""


def insert(source: str, first: int) -> str:
    """Return a statement that writes facts once for each row of `source` and returns new rows.

    Its parameters are `arguments`, numbered from `first`; a message id that is there already is
    kept. It is to be part of a larger statement.
    """
    types = ("text[]", "text[]", "bytea[]", "jsonb[]")
    places = ", ".join(f"${first + i}::{kind}" for i, kind in enumerate(types))
    columns = "message_id, subject, data, headers"
    return (
        f"insert into outbox ({columns}) select {columns}"  # noqa: S608 - names are ours
        f" from {source}, unnest({places}) as m ({columns})"
        " on conflict (message_id) do nothing returning id, message_id"
    )


_PUT = insert("(select) as once", 1)


def arguments(messages: Sequence[Outgoing]) -> list[list[Any]]:
    """Return the parameters of `insert`."""
    return [
        [m.message_id for m in messages],
        [m.subject for m in messages],
        [m.data for m in messages],
        [json.dumps(m.headers) for m in messages],
    ]


async def put(connection: asyncpg.Connection, messages: Sequence[Outgoing]) -> None:
    """Write facts in the caller's transaction; a message id that is there already is kept."""
    if messages:
        await connection.execute(_PUT, *arguments(messages))


class OutboxRelay:
    """Publishes the outbox of one schema: what it is handed, and, one relay of all, the rest."""

    def __init__(
        self, database: Database, bus: Bus, stream: str, *, telemetry: Telemetry | None = None
    ) -> None:
        self._telemetry = telemetry
        self._database = database
        self._bus = bus
        self._stream = stream
        self._wake = asyncio.Event()
        self._handed: list[Row] = []
        self._arrived = asyncio.Event()
        self._sending: list[int] = []
        self._marks: dict[int, int] = {}
        self._sent = asyncio.Event()
        self.open = 0
        """Rows that were not published at the last look."""
        self.published = 0
        """Rows published since the start."""

    def wake(self) -> None:
        """Look now: something was committed."""
        self._wake.set()

    def hand(self, rows: Sequence[Row]) -> None:
        """Take rows that were just committed, in the order of their ids; `send` publishes them."""
        self._handed += rows

    def send(self) -> None:
        """Publish what was handed over, now that nothing more urgent is to be sent."""
        if self._handed:
            self._arrived.set()

    async def run(self) -> None:
        """Relay for ever; a lost database or bus is waited for."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again(self._send_handed))
            group.create_task(self._again(self._mark_sent))
            group.create_task(self._again(self._look_for_open))

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

    async def _again(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except _WAIT_FOR as error:
                log.warning("outbox_waits", schema=self._database.schema, error=str(error))
                await asyncio.sleep(_POLL_SECONDS)

    async def _send_handed(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            rows, self._handed = self._handed, []
            self._sending = [row for row, _ in rows]
            try:
                await self._publish(rows)
            finally:
                # what could not be sent is still open in the table and found there
                self._sending = []

    async def _publish(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        began = now()
        below = [_below(message) for _, message in rows]
        sequences = await self._bus.publish_all([message for message, _, _ in below])
        if self._telemetry is not None:
            for message, place, parent in below:
                if place is not None:
                    _write_span(self._telemetry, message, place, parent, began)
        self._marks.update(zip((row for row, _ in rows), sequences, strict=True))
        self.published += len(rows)
        self._sent.set()

    async def _mark_sent(self) -> None:
        while True:
            await self._sent.wait()
            await asyncio.sleep(_MARK_SECONDS)
            self._sent.clear()
            await self._mark()

    async def _mark(self) -> None:
        marks = dict(self._marks)
        try:
            await self._database.pool.execute(_MARK, list(marks), list(marks.values()))
        except BaseException:
            self._sent.set()
            raise
        for row in marks:
            del self._marks[row]

    async def _look_for_open(self) -> None:
        async with self._database.pool.acquire() as lock:
            await self._hold_lock(lock)
            try:
                await self._reopen_lost()
                while True:
                    await self._relay_open()
                    await self._pause()
                    await lock.execute("select 1")
            finally:
                # the pool keeps the session, so closing it is what surely gives the lock back
                lock.terminate()

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
        # also those whose writer was ended before it could ask for it
        self.send()
        while True:
            handled = [*self._marks, *self._sending, *(row for row, _ in self._handed)]
            found = await self._database.pool.fetch(_OPEN, _BATCH, handled)
            self.open = len(found)
            if not found:
                return
            await self._publish([(r["id"], _message(r)) for r in found])

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._wake.clear()


def _message(row: asyncpg.Record) -> Outgoing:
    return Outgoing(row["subject"], row["data"], row["message_id"], json.loads(row["headers"]))


def _below(message: Outgoing) -> tuple[Outgoing, TraceContext | None, TraceContext | None]:
    """Return a message whose header names the span of its publication, that span and its parent.

    The span's id follows from the message's, so that sending again repeats it.
    """
    parent = sampled_context_of(message.headers)
    if parent is None:
        return message, None, None
    place = parent.child(span_id_of("send", message.message_id))
    headers = {**message.headers, HEADER_TRACE: place.header()}
    return replace(message, headers=headers), place, parent


def _write_span(
    telemetry: Telemetry,
    message: Outgoing,
    place: TraceContext,
    parent: TraceContext | None,
    began: int,
) -> None:
    telemetry.write(
        f"send quantum.events.{message.headers.get(HEADER_TYPE, '')}",
        place,
        parent=parent,
        start=began,
        end=now(),
        kind=SpanKind.PRODUCER,
        attributes=span_attributes.message_sent(message.subject, message.message_id),
    )
