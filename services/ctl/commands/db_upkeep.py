"""The database's own upkeep: analyze, vacuum, reindex, size, migrate, psql. Trading goes on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import asyncpg
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from services.catalog.processes import ANALYTICS, EXEC_RISK, Process
from services.ctl.checks.daily import size as readable
from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.home_database import address, superuser
from services.ctl.render.roles import DATABASE
from services.ctl.servers.postgres import wheel
from services.ctl.supervisor.database import OPERATORS
from services.ctl.supervisor.home import Home, Refused

_TABLES = """
select quote_ident(n.nspname) || '.' || quote_ident(c.relname) as name,
       pg_total_relation_size(c.oid) as bytes
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
order by bytes desc, name"""
_SIZES = """
select schemaname || '.' || relname as name, pg_total_relation_size(relid) as bytes,
       n_live_tup as rows, n_dead_tup as dead,
       greatest(last_vacuum, last_autovacuum) as vacuumed,
       greatest(last_analyze, last_autoanalyze) as analyzed
from pg_stat_user_tables order by bytes desc, name"""


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, how often and how long it took."""

    work: str
    tables: int
    seconds: float
    bytes_before: int
    bytes_after: int


def analyze(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Have PostgreSQL count anew what its planner goes by. Locks nothing.

    Example: qt db analyze
    """
    _tend(home, "analyze {table}", json_)


def vacuum(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Make the room of deleted rows usable again, and analyze. Locks nothing.

    Example: qt db vacuum
    """
    _tend(home, "vacuum (analyze) {table}", json_)


def reindex(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Build every index anew beside the old one; readers and writers go on meanwhile.

    Example: qt db reindex
    """
    _tend(home, "reindex table concurrently {table}", json_)


def size(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Show how large the database and its tables are, and when they were last tended.

    Example: qt db size
    """

    async def ask() -> tuple[int, list[asyncpg.Record]]:
        async with superuser(Home(home)) as connection:
            whole = await connection.fetchval("select pg_database_size(current_database())")
            return int(whole), await connection.fetch(_SIZES)

    whole, rows = asyncio.run(ask())
    table = Table("table", "size", "rows", "dead", "vacuumed", "analyzed")
    table.title = f"{DATABASE}: {readable(whole)}"
    for row in rows:
        times = [f"{row[n]:%Y-%m-%d %H:%M}" if row[n] else "" for n in ("vacuumed", "analyzed")]
        numbers = (readable(row["bytes"]), str(row["rows"]), str(row["dead"]))
        table.add_row(row["name"], *numbers, *times)
    told = [
        {k: v.isoformat() if hasattr(v, "isoformat") else v for k, v in dict(row).items()}
        for row in rows
    ]
    answer({"database": DATABASE, "bytes": whole, "tables": told}, table, json_)


def migrate(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Bring the schemas of both services to what this version needs; what is there stays.

    Example: qt db migrate
    """
    applied: dict[str, list[str]] = {}
    for process in (EXEC_RISK, ANALYTICS):
        done = subprocess.run(
            (sys.executable, "-m", f"services.{process.key}", "migrate"),
            env={**os.environ, **login(Home(home), process)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise Refused(f"{process.key} could not be migrated: {said}")
        lines = [line for line in done.stdout.splitlines() if line.startswith("applied ")]
        applied[process.key] = [line.removeprefix("applied ") for line in lines]
    told = [f"{key}: {', '.join(names) or 'is up to date'}" for key, names in applied.items()]
    answer(applied, "\n".join(told), json_)


def psql(
    command: Annotated[str, typer.Option("--command", "-c", help="Run this and end.")] = "",
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Open a prompt of the database as the operators' role, which reads all and writes nothing.

    Example: qt db psql -c "select count(*) from positions where status = 'open'"
    """
    place = Home(home)
    host, _, port = address(place).rpartition(":")
    password = place.identities().password_file(OPERATORS).read_text().strip()
    where = ("--host", host, "--port", port, "--username", OPERATORS, "--dbname", DATABASE)
    asked = ("--command", command) if command else ()
    program = (str(wheel() / "psql"), "--no-password", *where, *asked)
    done = subprocess.run(program, env={**os.environ, "PGPASSWORD": password})
    if done.returncode:
        raise typer.Exit(done.returncode)


def login(home: Home, process: Process) -> dict[str, str]:
    """Return the settings by which a service's own command logs in as its role."""
    name = f"{process.key.upper()}_POSTGRES"
    return {
        f"{name}_URL": f"postgresql://{process.key}@{address(home)}/{DATABASE}",
        f"{name}_PASSWORD_FILE": str(home.identities().password_file(process.key)),
    }


def _tend(home: Path, work: str, json_: bool) -> None:
    name = work.partition(" {")[0]

    async def run() -> Done:
        async with superuser(Home(home)) as connection:
            began, before = time.monotonic(), await _bytes(connection)
            tables = [row["name"] for row in await connection.fetch(_TABLES)]
            with Progress(console=Console(stderr=True), transient=True) as progress:
                for table in progress.track(tables, description=name):
                    # the name comes from the catalog, quoted there
                    await connection.execute(work.format(table=table))
            seconds = time.monotonic() - began
            return Done(name, len(tables), round(seconds, 1), before, await _bytes(connection))

    done = asyncio.run(run())
    text = (
        f"{name}: {done.tables} tables in {done.seconds} s,"
        f" {readable(done.bytes_before)} before, {readable(done.bytes_after)} after"
    )
    answer(asdict(done), text, json_)


async def _bytes(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("select pg_database_size(current_database())"))
