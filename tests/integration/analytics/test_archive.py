"""Old events in files: nothing lost and nothing doubled, whenever it is killed."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from services.analytics.app import SCHEMA
from services.analytics.codec import to_event
from services.analytics.ledger.archive import (
    COLUMNS,
    ArchiveDamaged,
    archive,
    manifest_of,
    restore,
    write_day,
)
from services.analytics.ledger.rebuild import LedgerIncomplete, rebuild
from services.analytics.store import LedgerStore
from services.kit.postgres.db import Database
from services.trade.times import DAY_MS
from tests.integration.analytics.conftest import ROOT, count
from tests.integration.analytics.ledger_samples import (
    MAY,
    MINUTE,
    closed_trade,
    delivered,
    outgoing,
    round_decided,
)

pytestmark = pytest.mark.timeout(120)
ALL = f"select {', '.join(COLUMNS)} from events order by timestamp, event_id"  # noqa: S608


async def filled(database: Database, days: int = 3, trades: int = 20) -> list[asyncpg.Record]:
    """Record some days of trades; return every event."""
    sent = [
        outgoing(m, time=MAY + day * DAY_MS + n * MINUTE)
        for day in range(days)
        for n in range(trades)
        for m in closed_trade(day * trades + n, time=MAY + day * DAY_MS + n * MINUTE)
    ]
    # text that CSV must quote
    sent.append(outgoing(round_decided(MAY, wallet="1"), name='a "quoted", id\nwith \\ all'))
    events = [to_event(delivered(s, n)) for n, s in enumerate(sent, 1)]
    store = LedgerStore(database)
    for start in range(0, len(events), 100):
        await store.record(events[start : start + 100])
    rows: list[asyncpg.Record] = await database.pool.fetch(ALL)
    return rows


def soon() -> datetime:
    """A moment after everything that was recorded."""
    return datetime.now(UTC) + timedelta(hours=1)


async def test_what_was_archived_comes_back_to_the_last_byte(
    database: Database, ledger_dsn: str, tmp_path: Path
) -> None:
    before = await filled(database)
    told: list[int] = []
    files = await archive(
        database, tmp_path, before=soon(), progress=lambda m: told.append(m.events)
    )
    assert [m.file for m in files] == [f"events-2025-05-0{n}.csv.gz" for n in (1, 2, 3)]
    assert sum(told) == len(before)
    assert await count(ledger_dsn, "select count(*) from events") == 0
    with gzip.open(tmp_path / files[0].file, "rt", newline="") as packed:
        rows = list(csv.DictReader(packed))
    assert len(rows) == files[0].events
    assert json.loads(rows[0]["data"])
    # projections stay, and a rebuild that would lose them is refused
    assert await count(ledger_dsn, "select count(*) from trades") == 60
    with pytest.raises(LedgerIncomplete, match="restore-archive"):
        await rebuild(ledger_dsn, SCHEMA, check=False)
    for manifest in files:
        assert await restore(database, tmp_path / manifest.file) == manifest.events
        assert await restore(database, tmp_path / manifest.file) == 0
    assert await database.pool.fetch(ALL) == before
    assert (await rebuild(ledger_dsn, SCHEMA, check=True)).differences == ()


async def test_only_what_is_old_by_both_clocks_goes(
    database: Database, ledger_dsn: str, tmp_path: Path
) -> None:
    """A market of last year that was recorded today is not old."""
    before = await filled(database, days=1)
    cutoff = datetime.now(UTC) - timedelta(days=30)
    assert await archive(database, tmp_path, before=cutoff, progress=print_nothing) == []
    await database.pool.execute(
        "update events set recorded_at = now() - interval '60 days' where sequence <= 10"
    )
    (manifest,) = await archive(database, tmp_path, before=cutoff, progress=print_nothing)
    assert manifest.events == 10
    assert await count(ledger_dsn, "select count(*) from events") == len(before) - 10
    # the rest of that day becomes another file beside the first
    (other,) = await archive(database, tmp_path, before=soon(), progress=print_nothing)
    assert (other.file, other.events) == ("events-2025-05-01-2.csv.gz", len(before) - 10)


def print_nothing(manifest: object) -> None:
    """Show no progress."""


async def test_a_damaged_file_changes_nothing_and_says_so(
    database: Database, ledger_dsn: str, tmp_path: Path
) -> None:
    await filled(database, days=1)
    (manifest,) = await archive(database, tmp_path, before=soon(), progress=print_nothing)
    path = tmp_path / manifest.file
    whole = path.read_bytes()
    for damage in (whole[:-20], whole[:200], b"", gzip.compress(b"event_id\n1\n")):
        path.write_bytes(damage)
        with pytest.raises(ArchiveDamaged):
            await restore(database, path)
    path.write_bytes(whole)
    note = manifest_of(path)
    note.rename(tmp_path / "elsewhere")
    with pytest.raises(ArchiveDamaged, match="cannot be read"):
        await restore(database, path)
    assert await count(ledger_dsn, "select count(*) from events") == 0
    (tmp_path / "elsewhere").rename(note)
    assert await restore(database, path) == manifest.events


async def test_a_file_whose_commit_never_came_is_written_again(
    database: Database, ledger_dsn: str, tmp_path: Path
) -> None:
    before = await filled(database, days=1)
    day = datetime(2025, 5, 1, tzinfo=UTC)
    async with database.transaction() as connection:
        left = await write_day(connection, tmp_path, day, soon())
    assert await count(ledger_dsn, "select count(*) from events") == len(before)
    (manifest,) = await archive(database, tmp_path, before=soon(), progress=print_nothing)
    assert (manifest.file, manifest.csv_sha256) == (left.file, left.csv_sha256)
    assert await restore(database, tmp_path / manifest.file) == len(before)


async def test_killed_while_it_archives_every_event_is_in_the_ledger_or_in_a_noted_file(
    database: Database, ledger_dsn: str, tmp_path: Path
) -> None:
    """SIGKILL at points spread over the run, then once to the end: nothing lost or doubled."""
    before = await filled(database, days=12, trades=60)
    await database.pool.execute("update events set recorded_at = now() - interval '60 days'")
    before = await database.pool.fetch(ALL)
    for files in (1, 4, 8):
        child = await _archiving(ledger_dsn, tmp_path)
        while child.returncode is None and len(list(tmp_path.glob("*.csv.gz"))) < files:
            await asyncio.sleep(0.002)
        if child.returncode is None:
            child.kill()
        await child.wait()
    child = await _archiving(ledger_dsn, tmp_path)
    assert await child.wait() == 0
    assert await count(ledger_dsn, "select count(*) from events") == 0
    noted = await database.pool.fetch("select file, events from archives order by file")
    assert sum(row["events"] for row in noted) == len(before)
    for row in noted:
        assert await restore(database, tmp_path / row["file"]) == row["events"]
    assert await database.pool.fetch(ALL) == before


async def _archiving(dsn: str, folder: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.analytics", "archive", "--older-than", "30d"),
        *("--to", str(folder)),
        cwd=ROOT,
        env={**os.environ, "ANALYTICS_POSTGRES_URL": dsn},
        stdout=asyncio.subprocess.DEVNULL,
    )
