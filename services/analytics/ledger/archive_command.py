"""Archiving from the command line."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.analytics.ledger.archive import (
    ArchiveBusy,
    ArchiveDamaged,
    Manifest,
    archive,
    restore,
)
from services.kit.postgres.db import Database
from services.kit.postgres.login import Where

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1)}


def parse_age(text: str) -> timedelta:
    """Return an age such as `30d` or `12h`; ValueError when it is none."""
    match = re.fullmatch(r"([0-9]{1,4})([hd])", text)
    if match is None:
        raise ValueError(f"{text!r} is no age: give a number and d or h, for example 30d")
    return int(match[1]) * _UNITS[match[2]]


async def archive_older(where: Where, schema: str, folder: Path, age: timedelta) -> int:
    """Archive what is older, with a line for each file; return the exit code."""
    database = await _connected(where, schema)
    try:
        before = datetime.now(UTC) - age
        done = await archive(database, folder, before=before, progress=_tell)
    except ArchiveBusy as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        await database.close()
    events = sum(manifest.events for manifest in done)
    sys.stdout.write(f"archived {events} events in {len(done)} files in {folder}\n")
    return 0


async def restore_files(where: Where, schema: str, files: list[Path]) -> int:
    """Put files back; return 1 when one is damaged."""
    database = await _connected(where, schema)
    try:
        for path in files:
            new = await restore(database, path)
            sys.stdout.write(f"{path.name}: {new} events back in the ledger\n")
    except ArchiveDamaged as error:
        sys.stderr.write(f"nothing of it was restored: {error}\n")
        return 1
    finally:
        await database.close()
    return 0


async def _connected(where: Where, schema: str) -> Database:
    return await Database.connect(
        where,
        schema=schema,
        application_name="analytics-archive",
        transaction_timeout_ms=0,
        command_timeout=3600.0,
    )


def _tell(manifest: Manifest) -> None:
    sys.stdout.write(f"{manifest.file}: {manifest.events} events\n")
    sys.stdout.flush()
