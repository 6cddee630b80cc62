"""Old events into compressed files, and back: nothing is lost, whenever it is killed.

A file holds the events of one UTC day as CSV with a header (gzip), the way `COPY` reads it; beside
it lies a manifest with counts and checksums. Reading, deleting and noting a file happen in one
snapshot: rows are gone only once their file lies on the disk, was read back and compared.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from services.analytics.ledger.partitions import Partitions
from services.kit.postgres.db import Database
from services.trade.times import from_datetime

COLUMNS = (
    "event_id", "timestamp", "type", "source", "trace_id", "key", "subject", "sequence", "data",
    "payload", "recorded_at",
)  # fmt: skip
_ALONE = "select pg_try_advisory_lock(hashtext('analytics.archive'))"
_OTHERS = "select pg_advisory_unlock(hashtext('analytics.archive'))"
# Both times must be old: a market of long ago may have been recorded today, and the bus may still
# deliver again what was recorded lately.
_DAYS = """
select date_trunc('day', timestamp) as day from events
where timestamp < $1 and recorded_at < $1 group by 1 order by 1
"""
_OLD = "timestamp >= '{since}' and timestamp < '{until}' and recorded_at < '{before}'"
_NOTE = """
insert into archives (file, since, until, events, sha256) values ($1, $2, $3, $4, $5)
"""
_RESTORED = "update archives set restored_at = clock_timestamp() where file = $1"
_TAKEN = "select true from archives where file = $1"
_CHUNK = 1 << 20


class ArchiveBusy(Exception):
    """Somebody else archives."""


class ArchiveDamaged(Exception):
    """A file is not what its manifest says; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive file holds."""

    file: str
    since: str
    """Begin of the span of event times, UTC."""
    until: str
    """End, excluded."""
    events: int
    csv_sha256: str
    """Of the content."""
    file_sha256: str
    """Of the compressed file."""
    columns: tuple[str, ...] = COLUMNS


Progress = Callable[[Manifest], None]


async def archive(
    database: Database, folder: Path, *, before: datetime, progress: Progress
) -> list[Manifest]:
    """Take all events that are older out of the ledger, day by day; return the files."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    written = []
    async with database.pool.acquire() as connection:
        # held by the session: a snapshot that waited for it would be older than what it guards
        if not await connection.fetchval(_ALONE):
            raise ArchiveBusy("another archiving is under way")
        try:
            for row in await connection.fetch(_DAYS, before):
                async with connection.transaction(isolation="repeatable_read"):
                    manifest = await write_day(connection, folder, row["day"], before)
                    await _forget(connection, manifest, before)
                written.append(manifest)
                progress(manifest)
        finally:
            await connection.execute(_OTHERS)
    return written


async def write_day(connection: Any, folder: Path, day: datetime, before: datetime) -> Manifest:
    """Write one day's old events into a file, read it back, and return what it holds."""
    since, until = day, min(day + timedelta(days=1), before)
    path = await _free_name(connection, folder, day)
    part = path.with_suffix(".part")
    query = f"select {', '.join(COLUMNS)} from events where {_old(since, until, before)}"  # noqa: S608
    digest = hashlib.sha256()
    with part.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as packed:

        async def put(data: bytes) -> None:
            digest.update(data)
            packed.write(data)

        status = await connection.copy_from_query(
            f"{query} order by timestamp, event_id", output=put, format="csv", header=True
        )
    _to_disk(part)
    part.rename(path)
    manifest = Manifest(
        file=path.name,
        since=since.isoformat(),
        until=until.isoformat(),
        events=int(status.split()[-1]),
        csv_sha256=digest.hexdigest(),
        file_sha256=_sha256(path),
    )
    note = manifest_of(path)
    note.write_text(json.dumps(asdict(manifest), indent=2) + "\n")
    _to_disk(note)
    _to_disk(folder)
    await asyncio.to_thread(verify, path)
    return manifest


async def restore(database: Database, path: Path) -> int:
    """Put the events of a file back into the ledger; return how many were not there.

    ArchiveDamaged when the file is not what its manifest says.
    """
    manifest = await asyncio.to_thread(verify, path)
    since = datetime.fromisoformat(manifest.since)
    await Partitions(database).ensure([from_datetime(since)])
    async with database.transaction() as connection:
        # a table of our own, since the role may make no temporary one; a second restore waits here
        await connection.execute("create table events_back (like events)")
        await connection.copy_to_table(
            "events_back", source=_lines(path), columns=COLUMNS, format="csv", header=True
        )
        held = await connection.fetchval("select count(*) from events_back")
        if held != manifest.events:
            raise ArchiveDamaged(f"{path.name}: {held} events, its manifest says {manifest.events}")
        names = ", ".join(COLUMNS)
        status = await connection.execute(
            f"insert into events ({names}) select {names} from events_back on conflict do nothing"  # noqa: S608
        )
        await connection.execute("drop table events_back")
        await connection.execute(_RESTORED, manifest.file)
    return int(status.split()[-1])


def verify(path: Path) -> Manifest:
    """Read a file whole and return its manifest; ArchiveDamaged when they differ."""
    try:
        found = json.loads(manifest_of(path).read_text())
        manifest = Manifest(**{**found, "columns": tuple(found["columns"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArchiveDamaged(f"{manifest_of(path)} cannot be read: {error}") from error
    if manifest.columns != COLUMNS:
        raise ArchiveDamaged(f"{path.name} holds other columns: {', '.join(manifest.columns)}")
    digest = hashlib.sha256()
    try:
        with gzip.open(path, "rb") as packed:
            while data := packed.read(_CHUNK):
                digest.update(data)
    except (OSError, EOFError) as error:
        raise ArchiveDamaged(f"{path} cannot be read: {error}") from error
    if digest.hexdigest() != manifest.csv_sha256:
        raise ArchiveDamaged(f"{path.name}: its content is not what its manifest says")
    return manifest


def manifest_of(path: Path) -> Path:
    """Return where the manifest of a file lies."""
    return path.with_name(path.name.removesuffix(".csv.gz") + ".json")


async def _forget(connection: Any, manifest: Manifest, before: datetime) -> None:
    since, until = (datetime.fromisoformat(t) for t in (manifest.since, manifest.until))
    status = await connection.execute(
        f"delete from events where {_old(since, until, before)}"  # noqa: S608 - times are our own
    )
    if int(status.split()[-1]) != manifest.events:
        raise ArchiveDamaged(f"{manifest.file}: {status} of {manifest.events} events")
    await connection.execute(
        _NOTE, manifest.file, since, until, manifest.events, manifest.file_sha256
    )


async def _free_name(connection: Any, folder: Path, day: datetime) -> Path:
    number = 1
    while True:
        suffix = f"-{number}" if number > 1 else ""
        name = f"events-{day:%Y-%m-%d}{suffix}.csv.gz"
        # a file that no commit knows was left behind by one that was killed: its rows are here
        if not await connection.fetchval(_TAKEN, name):
            return folder / name
        number += 1


def _old(since: datetime, until: datetime, before: datetime) -> str:
    times = {"since": since, "until": until, "before": before}
    return _OLD.format(**{name: time.isoformat() for name, time in times.items()})


async def _lines(path: Path) -> AsyncIterator[bytes]:
    with gzip.open(path, "rb") as packed:
        while data := packed.read(_CHUNK):
            yield data


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
