"""The database of a running home, as its superuser: for upkeep and for what operators ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from services.ctl.render.roles import DATABASE
from services.ctl.servers.postgres import PostgresServer
from services.ctl.supervisor.home import Home, Refused, read_json

CONNECT_SECONDS = 5.0


def address(home: Home) -> str:
    """Return host:port; Refused when nothing runs there."""
    found = read_json(home.endpoints_file).get("postgres")
    if not found:
        raise Refused(f"nothing runs in {home.root}: start it with `qt up`")
    return str(found)


@asynccontextmanager
async def superuser(home: Home) -> AsyncIterator[asyncpg.Connection]:
    """Connect; Refused says in a line why not."""
    port = int(address(home).rpartition(":")[2])
    server = PostgresServer(directory=home.root / "postgres", port=port)
    try:
        connection = await asyncpg.connect(server.dsn(DATABASE), timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise Refused(f"PostgreSQL at port {port} does not answer: {error}; `qt ps`") from error
    try:
        yield connection
    finally:
        await connection.close()
