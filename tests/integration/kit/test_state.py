"""Outbox, inbox, lease and migrations on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from services.catalog.subjects import DEADLETTER, Stream
from services.kit.bus.bus import Bus, Message, Outgoing
from services.kit.clock import SystemClock
from services.kit.postgres import inbox, outbox
from services.kit.postgres.db import Database
from services.kit.postgres.lease import _TAKE, Fenced, Lease
from services.kit.postgres.migrate import MigrationError, migrate, missing

SAMPLE = Stream("SAMPLE", ("sample.>",), max_age_seconds=600)
KIT_ONLY = "services.kit.migrations"
PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    await migrate(postgres_dsn, "sample", KIT_ONLY)
    database = await Database.connect(
        postgres_dsn, schema="sample", application_name="test", max_size=6
    )
    yield database
    await database.close()


async def test_three_starters_apply_each_migration_once(postgres_dsn: str) -> None:
    applied = await asyncio.gather(*(migrate(postgres_dsn, "s", KIT_ONLY) for _ in range(3)))
    assert sorted(len(a) for a in applied) == [0, 0, len(max(applied, key=len))]
    assert await missing(postgres_dsn, "s", KIT_ONLY) == []
    assert await missing(postgres_dsn, "other", KIT_ONLY) != []


async def test_an_edited_migration_is_refused(postgres_dsn: str, database: Database) -> None:
    await database.pool.execute("update schema_migrations set checksum = 'other'")
    with pytest.raises(MigrationError, match="instead of editing"):
        await migrate(postgres_dsn, "sample", KIT_ONLY)


async def test_a_message_is_new_once_and_forgotten_on_rollback(database: Database) -> None:
    with pytest.raises(RuntimeError):
        async with database.transaction() as connection:
            assert await inbox.first_time(connection, "c", "1")
            raise RuntimeError("handler failed")
    async with database.transaction() as connection:
        assert await inbox.first_time(connection, "c", "1")
        assert not await inbox.first_time(connection, "c", "1")
        assert await inbox.first_time(connection, "other", "1")


async def test_the_relay_publishes_what_was_committed_in_order(
    database: Database, nats_url: str
) -> None:
    bus = await Bus.connect(nats_url, "test")
    await bus.declare([SAMPLE, DEADLETTER])
    relay = outbox.OutboxRelay(database, bus, "SAMPLE")
    task = asyncio.create_task(relay.run())
    for i in range(20):
        async with database.transaction() as connection:
            await outbox.put(connection, [Outgoing("sample.a", b"%d" % i, f"m{i}", {"x": "1"})] * 2)
        relay.wake()
    with pytest.raises(RuntimeError):
        async with database.transaction() as connection:
            await outbox.put(connection, [Outgoing("sample.a", b"never", "never")])
            raise RuntimeError("rolled back")
    assert await relay.flush(5)
    seen: list[Message] = []
    follower = await bus.follow("SAMPLE", "sample.>", seen.append)
    assert await follower.wait_for(20, 5)
    assert [m.data for m in seen] == [b"%d" % i for i in range(20)]
    assert seen[0].headers["x"] == "1"
    task.cancel()
    await bus.close()


async def test_what_is_handed_over_is_published_once_also_without_the_lock(
    database: Database, nats_url: str
) -> None:
    bus = await Bus.connect(nats_url, "test")
    await bus.declare([SAMPLE, DEADLETTER])
    looking, relay = (outbox.OutboxRelay(database, bus, "SAMPLE") for _ in range(2))
    tasks = [asyncio.create_task(looking.run())]
    await asyncio.sleep(0.1)
    tasks.append(asyncio.create_task(relay.run()))
    messages = [Outgoing("sample.a", b"%d" % i, f"m{i}") for i in range(5)]
    async with database.transaction() as connection:
        await outbox.put(connection, messages)
        ids = await connection.fetch("select id from outbox order by id")
    relay.hand([(row["id"], message) for row, message in zip(ids, messages, strict=True)])
    relay.send()
    assert await relay.flush(5)
    assert relay.published == 5
    assert await bus.last_sequence("SAMPLE") == 5
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await bus.close()


async def test_a_stream_that_lost_messages_gets_them_again(
    database: Database, nats_url: str
) -> None:
    bus = await Bus.connect(nats_url, "test")
    await bus.declare([SAMPLE, DEADLETTER])
    async with database.transaction() as connection:
        await outbox.put(connection, [Outgoing("sample.a", b"%d" % i, f"m{i}") for i in range(5)])
    task = asyncio.create_task(outbox.OutboxRelay(database, bus, "SAMPLE").run())
    async with asyncio.timeout(5):
        while await database.pool.fetchval("select count(published_at) from outbox") < 5:
            await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await bus.client.jetstream().delete_stream("SAMPLE")
    await bus.declare([SAMPLE])
    relay = outbox.OutboxRelay(database, bus, "SAMPLE")
    again = asyncio.create_task(relay.run())
    async with asyncio.timeout(5):
        while await bus.last_sequence("SAMPLE") < 5:
            await asyncio.sleep(0.02)
    again.cancel()
    await bus.close()


async def test_one_holder_at_a_time_and_a_deposed_one_writes_nothing(database: Database) -> None:
    clock = SystemClock()
    first = Lease(database, "account.main", "a", clock, ttl=0.4)
    second = Lease(database, "account.main", "b", clock, ttl=0.4)
    assert await first.take()
    assert not await second.take()
    async with asyncio.timeout(3):
        await second.wait()
    assert second.token == first.token + 1
    assert not first.held
    with pytest.raises(Fenced):
        async with database.transaction() as connection:
            await first.fence(connection)
    async with database.transaction() as connection:
        await second.fence(connection)
    assert not await first.renew()


async def test_a_holder_keeps_its_lease_and_a_released_one_is_free_at_once(
    database: Database,
) -> None:
    clock = SystemClock()
    lost: list[bool] = []
    first = Lease(database, "r", "a", clock, ttl=0.4)
    second = Lease(database, "r", "b", clock, ttl=0.4)
    assert await first.take()
    keeper = asyncio.create_task(first.keep(lambda: lost.append(True)))
    await asyncio.sleep(1.0)
    assert first.held and not await second.take()
    keeper.cancel()
    await first.release()
    assert await second.take()
    assert lost == []


async def test_the_pool_heals_after_its_sessions_are_killed(
    database: Database, postgres_dsn: str
) -> None:
    assert await database.answers()
    admin = await asyncpg.connect(postgres_dsn)
    await admin.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'test'"
    )
    await admin.close()
    async with asyncio.timeout(5):
        while not await database.answers():
            await asyncio.sleep(0.05)


async def test_a_take_that_lay_in_a_frozen_server_takes_nothing(database: Database) -> None:
    """Its deadline, by the database's clock, is over when the server goes on."""
    await database.pool.execute(_TAKE, "r", "ghost", timedelta(seconds=2), PAST)
    assert await database.pool.fetchval("select count(*) from lease") == 0


async def test_who_outlasts_the_database_keeps_the_lease(database: Database) -> None:
    """Only another holder ends the hold; `held` says meanwhile that it is not sure."""
    clock = SystemClock()
    first = Lease(database, "r", "a", clock, ttl=0.4, outlasts=True)
    assert await first.take()
    await asyncio.sleep(0.5)
    assert not first.held
    assert await first.renew() and first.held
    await asyncio.sleep(0.5)
    assert await Lease(database, "r", "b", clock, ttl=0.4).take()
    assert not await first.renew()
