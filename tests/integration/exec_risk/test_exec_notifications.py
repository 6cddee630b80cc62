"""Requests and answers wake who waits for them; without notifications they are polled for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest_asyncio

from services.exec_risk.app import MIGRATIONS, SCHEMA
from services.exec_risk.core.effects import Answer
from services.exec_risk.core.inputs import Command
from services.exec_risk.database.commit_statement import ANSWERS_CHANNEL
from services.exec_risk.serving.views import Views
from services.exec_risk.store import PostgresStore
from services.exec_risk.term.correspondence import Correspondence
from services.exec_risk.term.keeper import Keeper
from services.kit.clock import SystemClock
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Lease
from services.kit.postgres.migrate import migrate
from services.kit.postgres.notify import Notifications
from tests.support.eventually import eventually

WAIT = 15.0
NEVER = 20 * WAIT
"""A fallback so slow that within a wait only notifications can bring an answer."""
LISTENERS = "select pid from pg_stat_activity where application_name = 'listens'"


@pytest_asyncio.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Database]:
    """A migrated schema."""
    await migrate(postgres_dsn, SCHEMA, MIGRATIONS)
    found = await Database.connect(postgres_dsn, schema=SCHEMA, application_name="test")
    yield found
    await found.close()


def notifications(database: Database, fallback: float) -> Notifications:
    """What one replica listens with."""
    return Notifications(
        database.where,
        ANSWERS_CHANNEL,
        SystemClock(),
        application_name="listens",
        fallback_seconds=fallback,
    )


@asynccontextmanager
async def answering(database: Database, heard: Notifications) -> AsyncIterator[None]:
    """A leader that answers every request at once, for the time of the block."""
    clock = SystemClock()
    lease = Lease(database, "account.main", "leader", clock, ttl=600)
    assert await lease.take()
    store = PostgresStore(database, lease, "main", "paper")
    answers: set[asyncio.Task[Any]] = set()

    def put(command: Command) -> None:
        answer = Answer(command.request_id, ok=True, result={"kind": type(command).__name__})
        answers.add(asyncio.create_task(store.commit([answer])))

    letters = Correspondence(
        store,
        clock,
        Keeper(store, clock, patience=1.0, deposed_after=60.0, on_kept=lambda _: None),
        put=put,
        asked=heard.bell("main").wait,
    )
    following = asyncio.create_task(letters.follow_requests())
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, *answers, return_exceptions=True)


@asynccontextmanager
async def running(*both: Notifications) -> AsyncIterator[None]:
    """Let them listen for the time of the block."""
    tasks = [asyncio.create_task(one.run()) for one in both]
    try:
        await eventually(lambda: all(one.listening for one in both))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def asker(database: Database, heard: Notifications) -> Callable[[str], Any]:
    """Another replica that passes a request on to the leader."""
    views = Views(database, "main", SystemClock(), heard)

    async def ask(name: str) -> None:
        answer = await views.ask_leader(name, "reconcile", {"apply": "false"}, wait_seconds=WAIT)
        assert answer == (True, {"kind": "ReconcileNow"})

    return ask


async def test_both_ways_are_woken(database: Database) -> None:
    """The fallback of either side alone would take twenty times as long as the asker waits."""
    leader, replica = notifications(database, NEVER), notifications(database, NEVER)
    async with running(leader, replica), answering(database, leader):
        ask = asker(database, replica)
        for name in ("a", "b", "c"):
            await ask(name)
        await asyncio.gather(*(ask(f"together-{n}") for n in range(8)))


async def test_a_lost_connection_comes_back(database: Database) -> None:
    """What was asked while nobody listened is found when listening begins again."""
    leader, replica = notifications(database, NEVER), notifications(database, NEVER)
    async with running(leader, replica), answering(database, leader):
        ask = asker(database, replica)
        await ask("before")
        ended = {row["pid"] for row in await database.pool.fetch(LISTENERS)}
        await database.pool.execute(
            "select pg_terminate_backend(pid) from unnest($1::int[]) as pid", list(ended)
        )
        await eventually(lambda: not (leader.listening or replica.listening), interval=0.001)
        await ask("meanwhile")
        assert not ended & {row["pid"] for row in await database.pool.fetch(LISTENERS)}
        await ask("after")


async def test_without_notifications_answers_are_polled_for(database: Database) -> None:
    leader, replica = notifications(database, 0.05), notifications(database, 0.05)
    async with answering(database, leader):
        await asker(database, replica)("a")
    assert not (leader.listening or replica.listening)
