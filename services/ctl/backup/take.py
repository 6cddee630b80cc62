"""Takes a backup of a running system, without a pause of anything."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from services.catalog.processes import VERSION
from services.catalog.subjects import STREAMS
from services.ctl.backup import archive, copies, streams, tables
from services.ctl.operator_bus import operator_bus
from services.ctl.supervisor.home import Home, Refused
from services.ctl.supervisor.topology import build_id

NAME = "quantum_trader_"
DUMP = "postgres.dump"
_STAMP = "%Y%m%d_%H%M%S"
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where database and bus are."""

    postgres: str
    """Address with a login that may read everything."""
    binaries: Path
    """Folder of `pg_dump` and `pg_restore`, no older than the server."""
    nats: str = ""
    """Another bus than the home's."""
    nkey_file: Path | None = field(default=None)
    ca_file: Path | None = field(default=None)


def listed(folder: Path) -> list[Path]:
    """Return the backups in a folder, the oldest first."""
    found = [
        path
        for path in folder.glob(f"{NAME}*")
        if path.name.endswith((archive.ZST, archive.GZ)) and taken_at(path) is not None
    ]
    return sorted(found, key=lambda path: path.name)


def taken_at(path: Path) -> datetime | None:
    """Return when a backup was taken by its name."""
    stamp = path.name.removeprefix(NAME).partition(".")[0]
    try:
        return datetime.strptime(stamp, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


async def take(
    home: Home,
    sources: Sources,
    folder: Path,
    *,
    now: datetime,
    keep_days: int,
    secrets: bool,
    tell: Tell,
) -> Path:
    """Write one archive and return it; older ones go only when it was read back whole.

    Refused leaves what was there as it was.
    """
    target = folder / f"{NAME}{now.strftime(_STAMP)}{archive.suffix()}"
    staging, part = folder / f".{target.name}.staging", folder / f".{target.name}.part"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        _make(folder)
        _make(staging)
        held = await _collect(home, sources, staging, secrets=secrets, tell=tell)
        tell("packing")
        manifest = archive.Manifest(
            created=now.isoformat(),
            build=build_id(),
            version=VERSION,
            secrets=secrets,
            members=archive.describe(staging),
            tables=held[0],
            streams=held[1],
        )
        part.touch(mode=0o600)
        archive.write(part, staging, manifest)
        tell("reading it back")
        archive.verify(part)
        part.replace(target)
        _sync(folder)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise Refused(
                f"no room in {folder} for a backup ({error.strerror}):"
                " the old ones are as they were; free some, or say --to"
            ) from error
        raise Refused(f"the backup could not be written: {error}") from error
    except asyncpg.PostgresError as error:
        raise Refused(f"the database cannot be read: {error}") from error
    except archive.Corrupt as error:
        raise Refused(f"what was written is not what was read: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        part.unlink(missing_ok=True)
    _clean(folder, target, now - timedelta(days=keep_days))
    return target


async def _collect(
    home: Home, sources: Sources, staging: Path, *, secrets: bool, tell: Tell
) -> tuple[Mapping[str, int], Mapping[str, Mapping[str, int]]]:
    """Streams first: what the database then knows and they lack is sent again from outboxes."""
    held: dict[str, Mapping[str, int]] = {}
    inside = staging / "streams"
    inside.mkdir()
    async with operator_bus(home, sources.nats, sources.nkey_file, sources.ca_file) as bus:
        for stream in STREAMS:
            tell(f"stream {stream.name}")
            held[stream.name] = await streams.snapshot(bus, stream.name, inside)
    tell("database")
    rows = await tables.dump(sources.postgres, sources.binaries, staging / DUMP)
    copies.take(home, staging, secrets=secrets)
    return rows, held


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _clean(folder: Path, newest: Path, before: datetime) -> None:
    for path in listed(folder):
        at = taken_at(path)
        if path != newest and at is not None and at < before:
            path.unlink()


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
