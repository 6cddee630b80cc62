"""Login roles on a real PostgreSQL: each owns its schema and sees no other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from services.analytics.ledger.archive import archive, restore
from services.analytics.ledger.partitions import Partitions
from services.ctl import policy
from services.ctl.identities import Identities
from services.ctl.render import roles
from services.ctl.servers.free import LOOPBACK
from services.ctl.servers.postgres import PostgresServer
from services.ctl.supervisor import database
from services.kit.postgres.db import Database
from services.kit.postgres.login import Login
from services.kit.postgres.migrate import migrate, missing
from services.trade.times import to_datetime

pytestmark = pytest.mark.asyncio(loop_scope="module")

OLD_MS = 1_746_057_600_000
OWNERS = {
    "exec_risk": "services.exec_risk.migrations",
    "analytics": "services.analytics.migrations",
}


class Guarded:
    """A server with the roles of the system."""

    def __init__(self, server: PostgresServer, identities: Identities) -> None:
        self.server = server
        self.identities = identities

    def login(self, role: str, name: str = roles.DATABASE) -> Login:
        dsn = f"postgresql://{role}@{LOOPBACK}:{self.server.port}/{name}"
        return Login(dsn, self.identities.password_file(role))

    async def connect(self, role: str, name: str = roles.DATABASE) -> asyncpg.Connection:
        return await asyncpg.connect(**self.login(role, name).options())

    async def prepare(self) -> None:
        await database.create(
            self.server.dsn(),
            self.server.dsn(roles.DATABASE),
            self.identities.policy,
            self.identities.passwords(),
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(server_home: Path) -> AsyncIterator[Guarded]:
    folder = server_home / "roles"
    folder.mkdir()
    identities = Identities(folder / "identities", policy.load())
    async with PostgresServer.start(folder / "postgres") as server:
        found = Guarded(server, identities)
        await found.prepare()
        for role, package in OWNERS.items():
            await migrate(found.login(role), role, package)
            assert await missing(found.login(role), role, package) == []
        # again: what exists is brought to what is declared
        await found.prepare()
        yield found


@pytest.mark.parametrize(("role", "other"), [tuple(OWNERS), tuple(reversed(OWNERS))])
@pytest.mark.parametrize(
    "statement",
    [
        "select count(*) from {other}.outbox",
        "insert into {other}.inbox select * from {other}.inbox",
        "delete from {other}.outbox",
        "create table {other}.mine ()",
        "drop schema {other} cascade",
        "create schema mine",
        "create table public.mine ()",
        "create temporary table mine ()",
        "alter role {other} password 'x'",
        "set role {other}",
        "grant {other} to {role}",
        "alter role {role} superuser",
        "create role mine",
        "create database mine",
        "copy (select 1) to program 'true'",
        "select pg_read_file('postgresql.conf')",
        "select rolpassword from pg_authid",
        "create extension dblink",
    ],
)
async def test_an_owner_stays_in_its_schema(
    guarded: Guarded, role: str, other: str, statement: str
) -> None:
    connection = await guarded.connect(role)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement.format(role=role, other=other))
    finally:
        await connection.close()


@pytest.mark.parametrize("owner", OWNERS)
async def test_operators_read_all_and_write_nothing(guarded: Guarded, owner: str) -> None:
    connection = await guarded.connect(database.OPERATORS)
    try:
        await connection.execute(f"set search_path = {owner}")
        assert await connection.fetchval("select count(*) from outbox") == 0
        for change in ("delete from outbox", "drop table outbox"):
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await connection.execute(change)
        await connection.execute("set default_transaction_read_only = off")
        for change in (
            "delete from outbox",
            "drop table outbox",
            f"create table {owner}.mine ()",
            f"set role {owner}",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(change)
    finally:
        await connection.close()


GUIDE = (
    "SELECT * FROM pg_stat_activity WHERE state = 'active'"
    " AND query_start < NOW() - INTERVAL '10 seconds'",
    "SELECT COUNT(*) FROM positions WHERE status = 'open'",
    "SELECT pg_size_pretty(pg_database_size('quantum_trader'))",
    "SELECT COUNT(*) FROM events WHERE timestamp < NOW() - INTERVAL '30 days'",
    "ANALYZE",
)
"""The operations guide's statements as it writes them; of the last but one, the condition."""


@pytest.mark.filterwarnings("ignore:permission denied to analyze")
@pytest.mark.parametrize("statement", GUIDE)
async def test_the_guides_statements_run_as_written_for_operators(
    guarded: Guarded, statement: str
) -> None:
    """Unqualified names are found: `positions` is exec_risk's, `events` is analytics'."""
    connection = await guarded.connect(database.OPERATORS)
    try:
        assert await connection.fetch(statement) is not None
    finally:
        await connection.close()


async def test_events_are_archived_by_their_owner_never_deleted_by_hand(
    guarded: Guarded, tmp_path: Path
) -> None:
    """What the guide deletes goes into files; the operators' role cannot lose it."""
    connection = await guarded.connect(database.OPERATORS)
    try:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute(
                "DELETE FROM events WHERE timestamp < NOW() - INTERVAL '30 days'"
            )
    finally:
        await connection.close()
    login = guarded.login("analytics")
    ledger = await Database.connect(login, schema="analytics", application_name="archive")
    try:
        await Partitions(ledger).ensure([OLD_MS])
        await ledger.pool.execute(
            "insert into events values ('old', $1, 't', 's', '', 'k', 'x', 1, '{}', '', $1)",
            to_datetime(OLD_MS),
        )
        (made,) = await archive(
            ledger, tmp_path, before=to_datetime(OLD_MS + 1), progress=lambda _: None
        )
        assert await ledger.pool.fetchval("select count(*) from events") == 0
        assert await restore(ledger, tmp_path / made.file) == 1
        assert await ledger.pool.fetchval("select event_id from events") == "old"
        await ledger.pool.execute("delete from events")
    finally:
        await ledger.close()


@pytest.mark.parametrize("role", [*OWNERS, database.OPERATORS])
async def test_passwords_are_asked_hashed_and_renewed(guarded: Guarded, role: str) -> None:
    superuser = await asyncpg.connect(guarded.server.dsn())
    kept = "select rolpassword from pg_authid where rolname = $1"
    try:
        assert (await superuser.fetchval(kept, role)).startswith("SCRAM-SHA-256$4096:")
        file = guarded.identities.password_file(role)
        assert file.stat().st_mode & 0o777 == 0o600
        login, before = guarded.login(role).options(), file.read_text()
        file.unlink()
        await guarded.prepare()
        assert file.read_text() != before
        await (await asyncpg.connect(**login)).close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(**{**login, "password": before})
    finally:
        await superuser.close()


@pytest.mark.parametrize(
    ("role", "limit"),
    [
        ("exec_risk", roles.OWNER_CONNECTIONS),
        ("analytics", roles.OWNER_CONNECTIONS),
        ("quantum_user", roles.READER_CONNECTIONS),
    ],
)
async def test_one_role_cannot_take_all_connections(
    guarded: Guarded, role: str, limit: int
) -> None:
    superuser = await asyncpg.connect(guarded.server.dsn())
    try:
        found = "select rolconnlimit from pg_roles where rolname = $1"
        assert await superuser.fetchval(found, role) == limit
        most = int(await superuser.fetchval("show max_connections"))
        assert most > 2 * roles.OWNER_CONNECTIONS + roles.READER_CONNECTIONS
    finally:
        await superuser.close()
