"""Health under load: how long analytics takes to tell its health while events flow into it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from quantum.analytics.v1 import analytics_service_pb2 as pb
from quantum.analytics.v1 import analytics_service_pb2_grpc as rpc

from services.catalog import subjects
from services.ctl.servers.free import LOOPBACK, free_port
from services.ctl.servers.nats import NatsServer
from services.ctl.servers.postgres import PostgresServer
from services.kit.bus.bus import Bus
from tests.benchmarks.event_sink import facts
from tests.benchmarks.processes import command, service
from tests.benchmarks.rows import Row, percentile

AIM_SECONDS = 0.1
EVENTS_PER_SECOND = 1_000
STEP_SECONDS = 0.05
QUIET_SECONDS = 8.0
LOADED_SECONDS = 20.0
READY_SECONDS = 60.0
CALL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Running:
    bus: Bus
    stub: rpc.AnalyticsServiceStub


async def measure(home: Path) -> list[Row]:
    """Return the row: p99 of the answers under load, against the aim in seconds."""
    async with _analytics(home) as running:
        quiet = await _answers(running.stub, QUIET_SECONDS)
        load = asyncio.create_task(_publish(running.bus, LOADED_SECONDS))
        loaded = await _answers(running.stub, LOADED_SECONDS)
        sent = await load
        left = await _not_recorded(running.bus)
    if left > EVENTS_PER_SECOND:
        raise RuntimeError(f"analytics fell behind: {left} of {sent} events are not recorded")
    calm, busy = percentile(quiet, 0.99), percentile(loaded, 0.99)
    return [
        Row(
            path="health of analytics while 1,000 events/s flow, p99 over 100 ms",
            measured=f"p50 {_ms(percentile(loaded, 0.5))}, p99 {_ms(busy)} of {len(loaded)} calls",
            floor=f"without events p50 {_ms(percentile(quiet, 0.5))}, p99 {_ms(calm)}",
            ratio=busy / AIM_SECONDS,
            aim=1.0,
            higher_is_better=False,
            numbers={
                "loaded_p99_ms": 1e3 * busy,
                "loaded_most_ms": 1e3 * max(loaded),
                "quiet_p99_ms": 1e3 * calm,
                "events_per_s": sent / LOADED_SECONDS,
            },
        )
    ]


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms"


@asynccontextmanager
async def _analytics(home: Path) -> AsyncIterator[_Running]:
    async with AsyncExitStack() as running:
        nats = await running.enter_async_context(NatsServer.start(home / "nats"))
        pg = await running.enter_async_context(PostgresServer.start(home / "pg"))
        bus = await Bus.connect(nats.url, "bench")
        running.push_async_callback(bus.close)
        await bus.declare(subjects.STREAMS)
        address = f"{LOOPBACK}:{free_port()}"
        environment = {
            "NATS_URL": nats.url,
            "ANALYTICS_POSTGRES_URL": pg.dsn(),
            "GRPC_ADDRESS": address,
        }
        await command("services.analytics", "migrate", environment)
        log = home / "analytics.log"
        await running.enter_async_context(service("services.analytics", environment, log))
        channel = await running.enter_async_context(grpc.aio.insecure_channel(address))
        stub = rpc.AnalyticsServiceStub(channel)
        request = pb.GetHealthRequest()
        await stub.GetHealth(request, wait_for_ready=True, timeout=READY_SECONDS)
        yield _Running(bus, stub)


async def _answers(stub: rpc.AnalyticsServiceStub, seconds: float) -> list[float]:
    """Ask one after the other, with a pause, and return how long each answer took."""
    taken, end = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        await stub.GetHealth(pb.GetHealthRequest(), timeout=CALL_SECONDS)
        taken.append(time.perf_counter() - began)
        await asyncio.sleep(STEP_SECONDS / 5)
    return taken


async def _publish(bus: Bus, seconds: float) -> int:
    """Publish evenly; return how many events were stored."""
    step = int(EVENTS_PER_SECOND * STEP_SECONDS)
    sent = facts(int(EVENTS_PER_SECOND * seconds), 0)
    began = time.perf_counter()
    for number, start in enumerate(range(0, len(sent), step)):
        await asyncio.sleep(began + number * STEP_SECONDS - time.perf_counter())
        await bus.publish_all(sent[start : start + step])
    return len(sent)


async def _not_recorded(bus: Bus) -> int:
    context = bus.client.jetstream()
    info = await context.consumer_info(subjects.EVENTS.name, subjects.LEDGER_CONSUMER)
    return int(info.num_pending or 0) + int(info.num_ack_pending or 0)
