"""Gives a backup back to a stopped home: beside what is there, which goes only when all is well."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from services.catalog.subjects import STREAMS
from services.ctl import policy
from services.ctl.backup import archive, copies, streams, tables
from services.ctl.backup.take import DUMP
from services.ctl.operator_bus import operator_bus
from services.ctl.render.bus import OPERATOR
from services.ctl.render.roles import DATABASE
from services.ctl.servers.command import ServerFailed
from services.ctl.servers.nats import NatsServer
from services.ctl.servers.postgres import PostgresServer, wheel
from services.ctl.supervisor import database
from services.ctl.supervisor.home import Home, Refused

DATA = ("postgres", "nats")
_OLD = ".before-restore"
_HALT = """
update exec_risk.trading_state set state = 'HALTED', reason = 'restored from a backup',
    changed_by = 'qt restore', changed_at = clock_timestamp()
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore brought back."""

    manifest: archive.Manifest
    states: dict[str, str]
    """Trading state of each account when the backup was taken."""


async def restore(home: Home, file: Path, tell: Callable[[str], None]) -> Restored:
    """Verify, unpack, load both, halt all accounts. Refused leaves the home as it was."""
    staging = home.root / ".restore"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        tell(f"verifying {file.name}")
        manifest = archive.unpack(file, staging)
        with _set_aside(home):
            copies.give_back(home, staging)
            tell("loading the database")
            states = await _load(home, staging, manifest)
            tell("loading the streams")
            await _streams(home, staging, manifest)
        return Restored(manifest, states)
    except archive.Corrupt as error:
        raise Refused(f"{error}: nothing was touched") from error
    except (Refused, ServerFailed, OSError, asyncpg.PostgresError) as error:
        raise Refused(f"{file.name} was not restored, all is as before: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _set_aside(home: Home) -> Iterator[None]:
    """Keep the data folders beside their new ones until the body has ended well."""
    for name in DATA:
        old = home.root / f"{name}{_OLD}"
        if old.exists():  # an earlier restore died: what it had set aside is the truth
            shutil.rmtree(home.root / name, ignore_errors=True)
            old.rename(home.root / name)
        if (home.root / name).exists():
            (home.root / name).rename(old)
    try:
        yield
    except BaseException:
        for name in DATA:
            shutil.rmtree(home.root / name, ignore_errors=True)
            if (home.root / f"{name}{_OLD}").exists():
                (home.root / f"{name}{_OLD}").rename(home.root / name)
        raise
    for name in DATA:
        shutil.rmtree(home.root / f"{name}{_OLD}", ignore_errors=True)


async def _load(home: Home, staging: Path, manifest: archive.Manifest) -> dict[str, str]:
    async with PostgresServer.start(home.root / "postgres") as server:
        known = home.identities()
        whole = server.dsn(DATABASE)
        await database.create(server.dsn(), whole, policy.load(), known.passwords())
        found = await tables.load(whole, wheel(), staging / DUMP)
        if dict(found) != dict(manifest.tables):
            raise Refused("the database has other rows than the backup")
        connection = await asyncpg.connect(whole)
        try:
            rows = await connection.fetch("select account, state from exec_risk.trading_state")
            await connection.execute(_HALT)
        finally:
            await connection.close()
    return {str(row["account"]): str(row["state"]) for row in rows}


async def _streams(home: Home, staging: Path, manifest: archive.Manifest) -> None:
    async with _bus(home) as server, operator_bus(home, server.url, _seed(home)) as bus:
        for stream in STREAMS:
            if stream.name not in manifest.streams:
                continue
            found = await streams.restore(bus, stream.name, staging / "streams")
            wanted = manifest.streams[stream.name]
            # what a stream keeps for a time only may have run out since
            if found["last"] != wanted["last"] or found["messages"] > wanted["messages"]:
                raise Refused(f"{stream.name} is another one than in the backup")


def _seed(home: Home) -> Path:
    return home.identities().nkey_file(OPERATOR)


@contextlib.asynccontextmanager
async def _bus(home: Home) -> AsyncIterator[NatsServer]:
    server = NatsServer(directory=home.root / "nats", identities=home.identities())
    try:
        await server.launch()
        yield server
    finally:
        await server.stop()
