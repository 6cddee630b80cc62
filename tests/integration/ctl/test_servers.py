"""The servers from their wheels really start, keep their data, and stop."""

from __future__ import annotations

import time
from pathlib import Path

import asyncpg
import nats
import pytest

from services.ctl.servers.command import ServerFailed
from services.ctl.servers.nats import NatsServer
from services.ctl.servers.postgres import PostgresServer


async def test_nats_keeps_acknowledged_messages_across_a_kill(tmp_path: Path) -> None:
    async with NatsServer.start(tmp_path / "nats") as server:
        client = await nats.connect(server.url)
        stream = client.jetstream()
        await stream.add_stream(name="S", subjects=["s.>"])
        await stream.publish("s.one", b"1")
        server.kill()
        await client.close()
        await server.launch()
        client = await nats.connect(server.url)
        assert (await client.jetstream().stream_info("S")).state.messages == 1
        await client.close()


async def test_postgres_keeps_commits_across_a_kill_and_stops_at_once(tmp_path: Path) -> None:
    async with PostgresServer.start(tmp_path / "postgres") as server:
        connection = await asyncpg.connect(server.dsn())
        await connection.execute("create table t as select 7 as x")
        server.kill()
        connection.terminate()
        await server.launch()
        connection = await asyncpg.connect(server.dsn())
        assert await connection.fetchval("select x from t") == 7
        connection.terminate()
        began = time.monotonic()
    assert server.process is not None
    assert server.process.poll() == 0, "SIGINT ends it in order even with a client connected"
    assert time.monotonic() - began < 10


async def test_postgres_wants_the_password(tmp_path: Path) -> None:
    async with PostgresServer.start(tmp_path / "postgres") as server:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.dsn(password="wrong"))


async def test_a_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    async with NatsServer.start(tmp_path / "first") as first:
        with pytest.raises(ServerFailed, match=rf"^nats needs port {first.port}, which is in use"):
            async with NatsServer.start(tmp_path / "second", port=first.port):
                pytest.fail("two servers on one port")


async def test_fixtures_give_a_clean_place(nats_url: str, postgres_dsn: str) -> None:
    client = await nats.connect(nats_url)
    assert await client.jetstream().streams_info() == []
    await client.close()
    connection = await asyncpg.connect(postgres_dsn)
    assert await connection.fetch("select 1 from pg_tables where schemaname = 'public'") == []
    await connection.close()
