"""Event sink: the ledger's own code against consuming alone and COPY alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from services.analytics.app import MIGRATIONS, SCHEMA
from services.analytics.codec import to_event
from services.analytics.consumers import Sink
from services.analytics.core.ledger import LedgerEvent
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.settings import AnalyticsSettings
from services.analytics.store import LedgerStore
from services.catalog import subjects
from services.ctl.servers.nats import NatsServer
from services.ctl.servers.postgres import PostgresServer
from services.kit.bus.bus import Bus, Delivery, Message, Outgoing
from services.kit.clock import SystemClock
from services.kit.observe.metrics import Metrics
from services.kit.postgres.db import Database
from services.kit.postgres.migrate import migrate
from services.trade.times import to_datetime
from tests.benchmarks.rows import Row, median
from tests.integration.analytics.ledger_samples import (
    MAY,
    MINUTE,
    closed_trade,
    delivered,
    outgoing,
    round_decided,
)

AIM = 0.5
CHUNK = 1_000
ROUNDS = 200
COLUMNS = (
    "event_id",
    "timestamp",
    "type",
    "source",
    "trace_id",
    "key",
    "subject",
    "sequence",
    "data",
    "payload",
)


@dataclass(frozen=True, slots=True)
class Rates:
    """Events a second of one repetition; each floor is the mean of right before and right after."""

    sink: float
    consume: float
    copy: float
    round_ms: float
    """Median time from publishing one decided round, alone, to hearing its answer."""
    commit_ms: float
    """Median time of one durable commit alone."""
    sink_cpu_us: float
    """CPU of the sink's process for an event; the servers' is not in it."""


async def measure(home: Path, *, events: int = 10_000, repetitions: int = 3) -> Row:
    """Return the row; each repetition has its own servers' place."""
    rates = []
    async with NatsServer.start(home / "nats") as nats, PostgresServer.start(home / "pg") as pg:
        for number in range(repetitions):
            rates.append(await _repetition(nats, pg, number, events))
    best = median([r.sink / min(r.consume, r.copy) for r in rates])
    sink, consume, copy, answer, commit, cpu = (
        median(column) for column in zip(*map(astuple, rates), strict=True)
    )
    return Row(
        path="event sink into Postgres",
        measured=f"{sink:,.0f} events/s",
        floor=f"consume {consume:,.0f}/s, COPY {copy:,.0f}/s",
        ratio=best,
        aim=AIM,
        higher_is_better=True,
        numbers={
            "sink_per_s": sink,
            "consume_per_s": consume,
            "copy_per_s": copy,
            "round_observed_p50_ms": answer,
            "commit_p50_ms": commit,
            "sink_cpu_us": cpu,
        },
    )


async def _repetition(nats: NatsServer, pg: PostgresServer, number: int, count: int) -> Rates:
    name = f"bench_{number}"
    database = await Database.connect(pg.dsn(), schema="public", application_name="bench")
    await database.pool.execute(f"create database {name}")
    await database.close()
    await migrate(pg.dsn(name), SCHEMA, MIGRATIONS)
    bus = await Bus.connect(nats.url, "bench")
    await bus.declare(subjects.STREAMS)
    await bus.client.jetstream().purge_stream(subjects.EVENTS.name)
    sent = facts(count, number)
    for start in range(0, count, CHUNK):
        await bus.publish_all(sent[start : start + CHUNK])
    database = await Database.connect(
        pg.dsn(name), schema=SCHEMA, application_name="bench", max_size=6
    )
    try:
        events = [to_event(delivered(s, n)) for n, s in enumerate(sent, 1)]
        floors = [await _floors(bus, database, events, f"before-{number}")]
        used = time.process_time()
        sink = await _sink(bus, database, count, f"sink-{number}")
        used = time.process_time() - used
        floors.append(await _floors(bus, database, events, f"after-{number}"))
        consume, copy = (sum(rates) / len(rates) for rates in zip(*floors, strict=True))
        answer = await _answer_ms(bus, MAY + (number + 1) * count * MINUTE)
        commit = await _commit_ms(database)
    finally:
        await bus.close()
        await database.close()
    return Rates(sink, consume, copy, answer, commit, used * 1e6 / count)


def facts(count: int, seed: int) -> list[Outgoing]:
    """Return facts as a trading hour has them: trades from open to close, and rounds."""
    sent: list[Outgoing] = []
    number = seed * count // 8
    while len(sent) < count:
        moment = MAY + number * MINUTE
        trade = [outgoing(m, time=moment) for m in closed_trade(number, time=moment)]
        rounds = [
            outgoing(round_decided(moment + n, wallet="1"), time=moment + n) for n in range(4)
        ]
        sent += [*trade, *rounds]
        number += 1
    return sent[:count]


async def _until(count: int, done: Callable[[], int], start: Awaitable[object]) -> float:
    began = time.perf_counter()
    await start
    async with asyncio.timeout(300):
        while done() < count:
            await asyncio.sleep(0.002)
    return count / (time.perf_counter() - began)


async def _floors(
    bus: Bus, database: Database, events: Sequence[LedgerEvent], name: str
) -> tuple[float, float]:
    """Return the rates of consuming alone and of COPY alone, one after the other."""
    return await _consume(bus, len(events), name), await _copy(database, events)


async def _consume(bus: Bus, count: int, consumer: str) -> float:
    taken = 0

    async def handle(deliveries: list[Delivery]) -> None:
        nonlocal taken
        taken += len(deliveries)

    work = bus.work(
        subjects.EVENTS.name, consumer, subjects.ALL_EVENTS, handle, batch=_batch(), ack_wait=30
    )
    return await _until(count, lambda: taken, work)


async def _copy(database: Database, events: Sequence[LedgerEvent]) -> float:
    rows = [
        tuple(to_datetime(e.time) if name == "timestamp" else getattr(e, name) for name in COLUMNS)
        for e in events
    ]
    async with database.pool.acquire() as connection:
        await connection.execute("drop table if exists copied")
        await connection.execute("create table copied (like events including defaults)")
        began = time.perf_counter()
        await connection.copy_records_to_table("copied", records=rows, columns=COLUMNS)
        return len(rows) / (time.perf_counter() - began)


async def _sink(bus: Bus, database: Database, count: int, consumer: str) -> float:
    sink = Sink(
        stream=subjects.EVENTS.name,
        store=LedgerStore(database),
        bus=bus,
        clock=SystemClock(),
        metrics=AnalyticsMetrics(Metrics("bench")),
    )
    work = sink.work(consumer, subjects.ALL_EVENTS, batch=_batch(), ack_wait=30)
    return await _until(count, lambda: sink.recorded, work)


async def _answer_ms(bus: Bus, first: int) -> float:
    """Decide rounds one after the other, as in lockstep, with the sink that runs."""
    heard: asyncio.Queue[Message] = asyncio.Queue()
    follower = await bus.follow(
        subjects.LIVE.name, subjects.ALL_ROUNDS_OBSERVED, heard.put_nowait, start="new"
    )
    times = []
    for number in range(ROUNDS):
        moment = first + number * MINUTE
        decided = outgoing(round_decided(moment, wallet="1"), time=moment)
        began = time.perf_counter()
        await bus.publish_all([decided])
        async with asyncio.timeout(10):
            await heard.get()
        times.append(1000 * (time.perf_counter() - began))
    await follower.stop()
    return median(times)


async def _commit_ms(database: Database) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await database.pool.execute("insert into copied select * from copied limit 1")
        times.append(1000 * (time.perf_counter() - began))
    return median(times)


def _batch() -> int:
    return AnalyticsSettings().backlog_batch
