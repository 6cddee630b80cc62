"""The database as one dump: rows of one moment, taken while others write."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from services.ctl.supervisor.home import Refused

_TABLES = """
select format('%I.%I', schemaname, tablename) from pg_tables
where schemaname not in ('pg_catalog', 'information_schema') order by 1
"""


async def dump(dsn: str, binaries: Path, target: Path) -> Mapping[str, int]:
    """Write a dump in PostgreSQL's custom format; return the rows of each table in it."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("set idle_in_transaction_session_timeout = 0")
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            moment = await connection.fetchval("select pg_export_snapshot()")
            arguments = ("--format=custom", f"--snapshot={moment}", f"--file={target}")
            await _run(binaries / "pg_dump", dsn, *arguments)
            return await rows(connection)
    finally:
        await connection.close()


async def load(dsn: str, binaries: Path, source: Path) -> Mapping[str, int]:
    """Read a dump into a database without tables of its own; return the rows of each table."""
    arguments = ("--clean", "--if-exists", "--exit-on-error", str(source))
    await _run(binaries / "pg_restore", dsn, *arguments)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("analyze")
        return await rows(connection)
    finally:
        await connection.close()


async def rows(connection: asyncpg.Connection) -> Mapping[str, int]:
    """Return how many rows each table has."""
    names = [str(record[0]) for record in await connection.fetch(_TABLES)]
    return {
        name: int(await connection.fetchval(f"select count(*) from {name}"))  # noqa: S608
        for name in names
    }


async def _run(program: Path, dsn: str, *arguments: str) -> None:
    # the address without its password: a command line is there for all to read
    head, _, place = dsn.partition("@")
    scheme, _, login = head.partition("://")
    user, _, password = login.partition(":")
    process = await asyncio.create_subprocess_exec(
        str(program),
        f"--dbname={scheme}://{user}@{place}",
        "--no-password",
        *arguments,
        env={**os.environ, "PGPASSWORD": password},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode:
        line = (said.decode().strip().splitlines() or [f"ended with {process.returncode}"])[-1]
        raise Refused(f"{program.name}: {line}")
