"""Backups on a real PostgreSQL and NATS: what is given back is what was taken, or is refused."""

from __future__ import annotations

import asyncio
import hashlib
import random
import resource
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from services.catalog.subjects import EVENTS, LIVE, MODELS, MODES, POLICY, STREAMS
from services.ctl import policy
from services.ctl.backup import archive, restoring, take
from services.ctl.operator_bus import operator_bus
from services.ctl.render.bus import OPERATOR
from services.ctl.servers.nats import NatsServer
from services.ctl.servers.postgres import PostgresServer, wheel
from services.ctl.supervisor import database
from services.ctl.supervisor.database import DATABASE
from services.ctl.supervisor.home import Home, Refused, write_json
from services.kit.bus.bus import Bus, Outgoing
from tests.support.folders import server_folder

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = datetime(2026, 5, 1, 3, 0, tzinfo=UTC)
SCHEMA = """
create table exec_risk.trading_state (account text primary key, state text not null,
    reason text not null, changed_by text not null, changed_at timestamptz not null);
insert into exec_risk.trading_state values ('main', 'REDUCING', '', '', now());
create table exec_risk.account (account text primary key);
insert into exec_risk.account values ('main'), ('never-moved');
create table exec_risk.fills (id bigint primary key, price numeric not null);
insert into exec_risk.fills select n, n / 7.0 from generate_series(1, 3000) as n;
create table analytics.events (id bigint, at timestamptz, data jsonb, primary key (id, at))
    partition by range (at);
create table analytics.events_1 partition of analytics.events
    for values from ('2026-01-01') to ('2027-01-01');
insert into analytics.events
    select n, '2026-03-01', jsonb_build_object('n', n) from generate_series(1, 500) as n;
"""
HASHED = ("exec_risk.fills", "analytics.events")
Said = Mapping[str, object]


@asynccontextmanager
async def servers(home: Home) -> AsyncIterator[PostgresServer]:
    """Run both servers of the home and tell where they are."""
    nats = NatsServer(directory=home.root / "nats", identities=home.identities())
    async with PostgresServer.start(home.root / "postgres") as postgres:
        await nats.launch()
        try:
            endpoints = {"nats": nats.url, "postgres": f"127.0.0.1:{postgres.port}"}
            write_json(home.endpoints_file, endpoints)
            yield postgres
        finally:
            await nats.stop()


async def fill(bus: Bus) -> None:
    """Put messages, keys, objects and a durable consumer on the bus."""
    await bus.declare(STREAMS)
    facts = [
        Outgoing(f"quantum.events.a.b.main.{n % 5}", b"%d" % n, f"id-{n}", {"ce-type": "x"})
        for n in range(400)
    ]
    await bus.publish_all(facts)
    await bus.publish_all([Outgoing("quantum.live.x.y", b"live", "live-1", {})])
    keys = [(f"$KV.modes.{name}", name.encode()) for name in ("ai", "exec_risk")]
    keys += [("$KV.policy.fund", b"%d" % n) for n in range(9)]
    await bus.publish_all([Outgoing(s, d, f"{s}-{d!r}", {}) for s, d in keys])
    chunk = random.Random(1).randbytes(200_000)  # noqa: S311 - no secret
    await bus.publish_all([Outgoing("$O.models.C.one", chunk, f"c{n}", {}) for n in range(4)])
    context = bus.client.jetstream()
    reader = await context.pull_subscribe("quantum.events.>", durable="reader")
    for message in await reader.fetch(120, timeout=5):
        await message.ack_sync()


async def said(home: Home, postgres: PostgresServer) -> Said:
    """Return counts and hashes of everything that a backup must bring back."""
    found: dict[str, object] = {}
    connection = await asyncpg.connect(postgres.dsn(DATABASE))
    for table in HASHED:
        found[table] = await connection.fetchrow(
            f"select count(*), md5(string_agg(t::text, '|' order by id)) from {table} t"  # noqa: S608
        )
    await connection.close()
    async with operator_bus(home) as bus:
        context = bus.client.jetstream()
        for stream in (EVENTS, LIVE, MODES, POLICY, MODELS):
            state = (await context.stream_info(stream.name)).state
            digest = hashlib.sha256()
            for sequence in range(state.first_seq, state.last_seq + 1):
                one = await context.get_msg(stream.name, sequence)
                digest.update(f"{one.subject} {one.seq} {one.headers}".encode() + (one.data or b""))
            found[stream.name] = (state.messages, state.last_seq, digest.hexdigest())
        read = await context.consumer_info(EVENTS.name, "reader")
        found["reader"] = (read.ack_floor.stream_seq, read.num_pending) if read.ack_floor else ()
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def taken() -> AsyncIterator[tuple[Home, Path, Said]]:
    """Yield a home whose servers are stopped, a backup of it, and what both held."""
    with server_folder() as root:
        home = Home(root / "home")
        home.create()
        write_json(home.root / "market.json", {"market": "generated"})
        async with servers(home) as postgres:
            whole = postgres.dsn(DATABASE)
            passwords = home.identities().passwords()
            await database.create(postgres.dsn(), whole, policy.load(), passwords)
            connection = await asyncpg.connect(whole)
            await connection.execute(SCHEMA)
            await connection.close()
            async with operator_bus(home) as bus:
                await fill(bus)
            held = await said(home, postgres)
            made = await backup(home, postgres, root / "backups", NOW)
            with little_room(64 << 10), pytest.raises(Refused, match=r"no room|pg_dump"):
                await backup(home, postgres, root / "backups", NOW + timedelta(days=9))
        yield home, made, held


async def backup(home: Home, postgres: PostgresServer, folder: Path, now: datetime) -> Path:
    sources = take.Sources(postgres.dsn(DATABASE), wheel())
    return await take.take(
        home, sources, folder, now=now, keep_days=7, secrets=False, tell=lambda _: None
    )


@contextmanager
def little_room(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size`: what a full disk looks like."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def restored(home: Home, file: Path) -> restoring.Restored:
    return await restoring.restore(home, file, lambda _: None)


async def test_a_full_disk_is_a_clear_error_and_old_backups_stay(
    taken: tuple[Home, Path, Said],
) -> None:
    """Asked for while a backup of nine days before lay there, which had become too old."""
    _, made, _ = taken
    assert [p.name for p in made.parent.iterdir()] == [made.name]
    assert archive.verify(made).tables["exec_risk.fills"] == 3000


async def test_an_archive_with_any_changed_byte_is_refused_before_anything_is_touched(
    taken: tuple[Home, Path, Said], tmp_path: Path
) -> None:
    home, made, _ = taken
    whole = made.read_bytes()
    mark = home.root / "postgres" / "mark"
    mark.write_text("untouched")
    chosen = random.Random(7).sample(range(len(whole)), 20)  # noqa: S311 - no secret
    places = [*chosen, 0, len(whole) - 1]
    bad = tmp_path / made.name
    for place in places:
        bad.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        with pytest.raises(archive.Corrupt):
            await asyncio.to_thread(archive.verify, bad)
    for cut in (whole[:-1], whole[: len(whole) // 2], b""):
        bad.write_bytes(cut)
        with pytest.raises(Refused, match="nothing was touched"):
            await restored(home, bad)
    assert mark.read_text() == "untouched"
    mark.unlink()


async def test_what_was_destroyed_comes_back_row_for_row_and_message_for_message(
    taken: tuple[Home, Path, Said],
) -> None:
    home, made, held = taken
    for name in restoring.DATA:
        shutil.rmtree(home.root / name)
    (home.root / "market.json").unlink()
    done = await restored(home, made)
    assert done.states == {"main": "REDUCING", "never-moved": "ACTIVE"}
    assert home.remembered() == {"market": "generated"}
    async with servers(home) as postgres:
        assert await said(home, postgres) == held
        connection = await asyncpg.connect(postgres.dsn(DATABASE))
        halted = await connection.fetch("select state from exec_risk.trading_state")
        owner = await connection.fetchval(
            "select tableowner from pg_tables where tablename = 'fills'"
        )
        await connection.close()
    assert [row["state"] for row in halted] == ["HALTED", "HALTED"]
    assert owner == "postgres"
    assert {p.name for p in home.root.iterdir()} >= set(restoring.DATA)
    assert not [p for p in home.root.iterdir() if "before-restore" in p.name]


async def test_a_restore_that_fails_leaves_all_as_it_was(
    taken: tuple[Home, Path, Said], tmp_path: Path
) -> None:
    """The archive is whole, but what it holds of a stream is not."""
    home, made, _ = taken
    inside = tmp_path / "inside"
    manifest = archive.unpack(made, inside)
    (inside / "streams" / "EVENTS.snapshot").write_bytes(b"no snapshot")
    forged = tmp_path / made.name
    fresh = archive.Manifest(
        created="now",
        build="",
        version="",
        secrets=False,
        members=archive.describe(inside),
        tables=manifest.tables,
        streams=manifest.streams,
    )
    archive.write(forged, inside, fresh)
    (home.root / "nats" / "mark").write_text("untouched")
    with pytest.raises(Refused, match="was not restored, all is as before"):
        await restored(home, forged)
    assert (home.root / "nats" / "mark").read_text() == "untouched"


async def test_no_secret_is_in_an_archive_that_was_not_to_hold_any(
    taken: tuple[Home, Path, Said], tmp_path: Path
) -> None:
    home, made, _ = taken
    archive.unpack(made, tmp_path)
    seed = home.identities().nkey_file(OPERATOR).read_bytes()
    passwords = [p.encode() for p in home.identities().passwords().values()]
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        content = path.read_bytes()
        assert not [secret for secret in (seed, *passwords) if secret.strip() in content], path
