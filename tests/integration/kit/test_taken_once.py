"""What only one may have is had by one, however many ask at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.kit.clock import SystemClock
from services.kit.postgres import inbox
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Lease
from services.kit.postgres.migrate import migrate


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    await migrate(postgres_dsn, "sample", "services.analytics.migrations")
    opened = await Database.connect(
        postgres_dsn, schema="sample", application_name="test", max_size=12
    )
    yield opened
    await opened.close()


async def test_a_lease_is_taken_by_one_of_many(database: Database) -> None:
    """Incident 80: checking and taking are one statement."""
    for number in range(5):
        leases = [
            Lease(database, f"permit-{number}", f"owner-{i}", SystemClock(), ttl=30)
            for i in range(12)
        ]
        assert sum(await asyncio.gather(*(lease.take() for lease in leases))) == 1
        assert sum(lease.held for lease in leases) == 1


async def test_a_message_is_new_to_one_of_many(database: Database) -> None:
    """Incident 80: what was handled is remembered by consumer and id, in one statement."""

    async def handle(consumer: str, message_id: str) -> bool:
        async with database.transaction() as connection:
            return await inbox.first_time(connection, consumer, message_id)

    for number in range(5):
        asked = (handle("consumer", f"message-{number}") for _ in range(12))
        assert sum(await asyncio.gather(*asked)) == 1
    assert await handle("another", "message-0"), "each consumer has its own"
