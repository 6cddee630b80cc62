"""Real servers for tests: one of each kind a session, a clean place in it for every test."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import nats
import pytest
import pytest_asyncio
from hypothesis import settings

from services.ctl.servers.free import free_port as choose_port
from services.ctl.servers.nats import NatsServer
from services.ctl.servers.postgres import PostgresServer
from services.kit.observe import logs
from tests.support.folders import server_folder

_numbers = itertools.count(1)

# Machines are busy: a property says nothing about time.
settings.register_profile("any-time", deadline=None)
settings.load_profile("any-time")


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> None:
    """Logs as in service: the console form draws every local value of a traceback, for seconds."""
    logs.configure("tests", "tests", "WARNING", "json")


@pytest.fixture(scope="session")
def server_home() -> Iterator[Path]:
    """A folder for the servers' data."""
    with server_folder() as home:
        yield home


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_server(server_home: Path) -> AsyncIterator[NatsServer]:
    """The session's NATS server."""
    async with NatsServer.start(server_home / "nats") as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(server_home: Path) -> AsyncIterator[PostgresServer]:
    """The session's PostgreSQL server."""
    async with PostgresServer.start(server_home / "postgres") as server:
        yield server


@pytest_asyncio.fixture
async def nats_url(nats_server: NatsServer) -> str:
    """Address of a NATS server that holds no stream."""
    client = await nats.connect(nats_server.url)
    stream = client.jetstream()
    for held in await stream.streams_info():
        await stream.delete_stream(held.config.name or "")
    await client.close()
    return nats_server.url


@pytest_asyncio.fixture
async def postgres_dsn(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """Address of a database that nobody has used."""
    name = f"test_{next(_numbers)}"
    connection = await asyncpg.connect(postgres_server.dsn())
    await connection.execute(f"create database {name}")
    yield postgres_server.dsn(name)
    await connection.execute(f"drop database if exists {name} with (force)")
    await connection.close()


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    return choose_port()


@pytest.fixture(scope="session")
def quantum_data() -> Path:
    """Folder of recorded market data; tests that need it are skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    data = Path(os.environ.get("QUANTUM_DATA", beside))
    if not data.is_dir():
        pytest.skip(f"recorded market data is not at {data}")
    return data
