"""Migrations: numbered SQL files, forward only, each applied once in a transaction."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

import asyncpg

from services.kit.observe.logs import get_logger
from services.kit.postgres.login import Where, options

log = get_logger(__name__)


class MigrationError(Exception):
    """The files and the database's history do not fit together."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations_of(package: str) -> list[Migration]:
    """Read `NNNN_name.sql` of the messaging tables and of a package, in order."""
    found = []
    for source in dict.fromkeys(("services.kit.migrations", package)):
        files = [f for f in resources.files(source).iterdir() if f.name.endswith(".sql")]
        for file in sorted(files, key=lambda f: f.name):
            found.append(Migration(f"{source.split('.')[-2]}/{file.name}", file.read_text()))
    return found


async def migrate(where: Where, schema: str, package: str) -> list[str]:
    """Bring a schema to head and return the names of what was applied.

    Several starters may race: an advisory lock lets one through at a time. MigrationError when a
    file that was applied has changed since.
    """
    connection = await asyncpg.connect(**options(where))
    try:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock(hashtext($1))", schema)
            # asked first: the owner of the schema may not create any
            if not await connection.fetchval("select to_regnamespace($1)", schema):
                await connection.execute(f'create schema "{schema}"')
            await connection.execute(f'set local search_path to "{schema}"')
            return await _apply_open(connection, migrations_of(package))
    finally:
        await connection.close()


async def _apply_open(connection: asyncpg.Connection, migrations: list[Migration]) -> list[str]:
    await connection.execute(
        "create table if not exists schema_migrations ("
        "name text primary key, checksum text not null,"
        "applied_at timestamptz not null default clock_timestamp())"
    )
    rows = await connection.fetch("select name, checksum from schema_migrations")
    applied = {row["name"]: row["checksum"] for row in rows}
    fresh = []
    for migration in migrations:
        if migration.name in applied:
            if applied[migration.name] != migration.checksum:
                raise MigrationError(
                    f"{migration.name} was applied with other content; add a new file instead of"
                    " editing it"
                )
            continue
        await connection.execute(migration.sql)
        await connection.execute(
            "insert into schema_migrations (name, checksum) values ($1, $2)",
            migration.name,
            migration.checksum,
        )
        log.info("migration_applied", name=migration.name)
        fresh.append(migration.name)
    return fresh


async def missing(where: Where, schema: str, package: str) -> list[str]:
    """Return the names of files that are not applied yet; a service is not ready with any."""
    connection = await asyncpg.connect(**options(where))
    try:
        known = await connection.fetchval("select to_regclass($1)", f"{schema}.schema_migrations")
        if known is None:
            return [m.name for m in migrations_of(package)]
        rows = await connection.fetch(f'select name from "{schema}".schema_migrations')  # noqa: S608
        applied = {row["name"] for row in rows}
        return [m.name for m in migrations_of(package) if m.name not in applied]
    finally:
        await connection.close()
