"""The ledger beside the executors of a drill."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.analytics.app import MIGRATIONS, SCHEMA
from services.ctl.servers.command import Command
from services.kit.postgres.migrate import migrate
from tests.integration.exec_risk.two_replicas import ROOT
from tests.support.drill_desk import DrillDesk


@asynccontextmanager
async def analytics(desk: DrillDesk, **environment: str) -> AsyncIterator[None]:
    """Analytics as it really runs, for all accounts; it must not end by itself."""
    await migrate(desk.postgres.dsn(), SCHEMA, MIGRATIONS)
    command = Command(
        arguments=(sys.executable, "-m", "services.analytics"),
        log=desk.home / "analytics.log",
        directory=ROOT,
        environment={
            **desk.environment,
            "ANALYTICS_POSTGRES_URL": desk.postgres.dsn(),
            "SERVICE_INSTANCE": "analytics",
            **environment,
        },
    )
    process = command.spawn()
    try:
        yield
        assert process.poll() is None, (desk.home / "analytics.log").read_text()[-2000:]
    finally:
        process.kill()
        process.wait()
