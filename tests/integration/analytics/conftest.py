"""Analytics against real servers: in this process, and as a process that can be killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import asyncpg
import pytest
import pytest_asyncio

from services.analytics.app import MIGRATIONS, SCHEMA, build_with
from services.analytics.settings import AnalyticsSettings
from services.catalog.processes import ANALYTICS
from services.catalog.subjects import STREAMS
from services.kit.bus.bus import Bus
from services.kit.clock import SystemClock
from services.kit.postgres.db import Database
from services.kit.postgres.migrate import migrate
from services.kit.process import Process
from tests.support.alert_sinks import Letterbox, Mailbox, http_sink, smtp_sink
from tests.support.eventually import eventually

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[3]


@pytest_asyncio.fixture
async def ledger_dsn(postgres_dsn: str) -> str:
    """A database with the schema at head."""
    await migrate(postgres_dsn, SCHEMA, MIGRATIONS)
    return postgres_dsn


@pytest_asyncio.fixture
async def database(ledger_dsn: str) -> AsyncIterator[Database]:
    """The ledger's database as the service opens it."""
    opened = await Database.connect(ledger_dsn, schema=SCHEMA, application_name="test", max_size=8)
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    """A connection with all streams declared."""
    connected = await Bus.connect(nats_url, "test")
    await connected.declare(STREAMS)
    yield connected
    await connected.close()


def settings_for(dsn: str, nats_url: str, port: int, **changes: object) -> AnalyticsSettings:
    """Settings of a service under test: quick checks, no waiting at the stop."""
    values: dict[str, object] = {
        "analytics_postgres_url": dsn,
        "nats_url": nats_url,
        "grpc_address": f"127.0.0.1:{port}",
        "service_instance": f"analytics-{port}",
        "heartbeat_interval_seconds": 0.2,
        "health_check_interval": 0.2,
        "event_bus_block_ms": 100,
        "heartbeat_timeout_seconds": 1.5,
        "drain_delay_seconds": 0,
        "stop_grace_seconds": 1,
    }
    return AnalyticsSettings(_env_file=None, **{**values, **changes})  # type: ignore[arg-type]


@asynccontextmanager
async def running(settings: AnalyticsSettings) -> AsyncIterator[Process]:
    """Run the service in this process until the block ends."""
    process = Process(ANALYTICS, settings, SystemClock())
    task = asyncio.create_task(process.run(build_with(settings)))
    try:
        yield process
    finally:
        process.stop()
        assert await task == 0


async def ready(process: Process) -> None:
    """Wait until the service is ready."""
    await eventually(lambda: process.ready, deadline=15)


@dataclass
class KilledProcess:
    """The service as a process of its own."""

    environment: dict[str, str]
    child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it."""
        self.child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.analytics",
            "serve",
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdout=asyncio.subprocess.DEVNULL,
        )

    def memory_mb(self) -> float:
        """Return what it holds of the machine's memory."""
        assert self.child is not None
        pages = int(Path(f"/proc/{self.child.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    async def kill(self) -> None:
        """Kill it without a warning."""
        assert self.child is not None
        if self.child.returncode is None:
            self.child.send_signal(signal.SIGKILL)
        await self.child.wait()


async def soon(
    check: Callable[[], Awaitable[T]], deadline: float = 15.0, interval: float = 0.05
) -> T:
    """Return the first true answer of an asynchronous check."""
    found: T = await eventually(
        cast("Callable[[], Any]", check), deadline=deadline, interval=interval
    )
    return found


async def count(dsn: str, statement: str) -> int:
    """Ask the ledger's database for one number."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": SCHEMA})
    try:
        return int(await connection.fetchval(statement))
    finally:
        await connection.close()


@pytest.fixture
async def mail() -> AsyncIterator[Mailbox]:
    async with smtp_sink() as box:
        yield box


@pytest.fixture
async def web() -> AsyncIterator[Letterbox]:
    async with http_sink() as box:
        yield box
