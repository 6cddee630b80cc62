"""Brings roles, database and tables to what this build needs, before the services start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from services.catalog.processes import SERVICES, Process
from services.ctl.servers.command import Command, ServerFailed, last_line
from services.ctl.supervisor import database
from services.ctl.supervisor.topology import Topology

MIGRATE_SECONDS = 60.0


async def prepare(topology: Topology, services: Iterable[str]) -> None:
    """Create roles and schemas, and bring the tables of these services to head.

    `services` by key; those without tables are left out. ServerFailed says which migration failed.
    """
    postgres, known = topology.postgres, topology.home.identities()
    await database.create(
        postgres.dsn(), postgres.dsn(database.DATABASE), known.policy, known.passwords()
    )
    wanted = frozenset(database.OWNERS) & frozenset(services)
    owners = [process for process in SERVICES if process.key in wanted]
    await asyncio.gather(*(migrate(topology, process) for process in owners))


async def migrate(topology: Topology, process: Process) -> None:
    """Bring the tables of a service to head; ServerFailed tells the last line of its log."""
    command = topology.migration(process)
    running = command.spawn()
    deadline = time.monotonic() + MIGRATE_SECONDS
    try:
        while (code := running.poll()) is None and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
    finally:
        running.kill()
    if code != 0:
        said = last_line(command.log)
        raise ServerFailed(with_log(f"migration of {process.key} failed ({code}): {said}", command))


def with_log(text: str, command: Command) -> str:
    """Add where the log lies to what failed, unless it is said."""
    return text if "(log:" in text or command.log is None else f"{text} (log: {command.log})"
