"""Health of services and parts over real servers, and what an outage costs: nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from quantum.analytics.v1 import analytics_service_pb2 as pb
from quantum.analytics.v1 import analytics_service_pb2_grpc as rpc
from quantum.analytics.v1 import events_pb2 as published
from quantum.ops.v1 import operations_service_pb2 as ops

from services.analytics.app import MIGRATIONS, SCHEMA
from services.analytics.ledger.rebuild import rebuild
from services.catalog import subjects
from services.catalog.events import HEALTH_STATUS, SERVICE_HEARTBEAT
from services.catalog.processes import AI
from services.catalog.subjects import STREAMS
from services.ctl.servers.nats import NatsServer
from services.ctl.servers.postgres import PostgresServer
from services.kit.bus.bus import Bus
from services.kit.postgres.db import Database
from services.kit.postgres.migrate import migrate
from tests.integration.analytics.conftest import count, ready, running, settings_for, soon
from tests.integration.analytics.ledger_samples import MAY, closed_trade, outgoing
from tests.support.eventually import eventually

pytestmark = pytest.mark.timeout(90)

_FACTS = "select count(*) from events where type = 'fill.recorded' or type like 'position.%'"
"""What tests publish; analytics' own facts about health and alerts are among the events too."""


async def beat(bus: Bus, service: str, status: str = "HEALTHY") -> None:
    """One heartbeat."""
    now = datetime.now(UTC)
    message = ops.ServiceHeartbeat(service_name=service, instance=f"{service}-1", status=status)
    message.time.FromDatetime(now)
    await bus.publish(
        subjects.heartbeat(service),
        message.SerializeToString(),
        message_id=f"beat-{service}-{now.timestamp()}",
        headers={
            subjects.HEADER_TYPE: SERVICE_HEARTBEAT,
            subjects.HEADER_TIME: str(int(now.timestamp() * 1000)),
        },
    )


async def service_health(port: int) -> dict[str, str]:
    """`service_health` as a caller sees it."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = rpc.AnalyticsServiceStub(channel)
        answer = await stub.GetHealth(pb.GetHealthRequest(), timeout=5, wait_for_ready=True)
    return dict(answer.service_health) | {"status": answer.status}


async def shows(port: int, key: str, value: str) -> bool:
    """Whether health shows a value."""
    return (await service_health(port))[key] == value


async def test_a_service_is_down_before_its_first_heartbeat_and_after_its_last(
    ledger_dsn: str, nats_url: str, bus: Bus, database: Database, free_port: int
) -> None:
    """Incidents 73, 108: the flag turns within the time-out, and back; each change is one fact that
    tells what was before."""
    async with running(settings_for(ledger_dsn, nats_url, free_port)) as process:
        await ready(process)
        assert await shows(free_port, "ai_service", "down")
        await soon(partial(_status_is, database, "DOWN"))
        await beat(bus, AI.name)
        await soon(partial(shows, free_port, "ai_service", "healthy"), 2)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)

            async def serving() -> bool:
                found = await stub.Check(health_pb2.HealthCheckRequest(service=AI.grpc_service))
                return bool(found.status == health_pb2.HealthCheckResponse.SERVING)

            await soon(serving, 2)
        await soon(partial(_status_is, database, "HEALTHY"), 2)
        await soon(partial(shows, free_port, "ai_service", "down"), 4)
        await soon(partial(_status_is, database, "DOWN"), 4)
        await beat(bus, AI.name, "DEGRADED")
        await soon(partial(shows, free_port, "ai_service", "degraded"), 2)

        async def told() -> list[str]:
            rows = await database.pool.fetch(
                "select payload from events where type = $1 order by timestamp, sequence",
                HEALTH_STATUS,
            )
            facts = [published.HealthStatus.FromString(row["payload"]) for row in rows]
            found = [f.status for f in facts if f.service_name == AI.name]
            assert found == ["CRITICAL", "HEALTHY", "CRITICAL", "DEGRADED"]
            before = [f.previous_status for f in facts if f.service_name == AI.name]
            assert before == ["UNKNOWN", "CRITICAL", "HEALTHY", "CRITICAL"]
            return found

        await soon(told)
    stored = await database.pool.fetchval(
        "select status from heartbeats where service = $1", AI.name
    )
    assert stored == "DEGRADED"


async def test_two_replicas_tell_of_a_change_once(
    ledger_dsn: str, nats_url: str, bus: Bus, database: Database, free_port: int
) -> None:
    first = settings_for(ledger_dsn, nats_url, free_port)
    second = settings_for(ledger_dsn, nats_url, 0, service_instance="analytics-2")
    async with running(first) as one, running(second) as two:
        await ready(one)
        await ready(two)
        await soon(partial(_status_is, database, "DOWN"))
        for status in ("HEALTHY", "DEGRADED", "HEALTHY"):
            await beat(bus, AI.name, status)
            await soon(partial(_status_is, database, status), 5)
        assert await count(ledger_dsn, _TOLD) == 4


async def farewell(bus: Bus, service: str, instance: str) -> None:
    """The last heartbeat of a replica that ends in order."""
    message = ops.ServiceHeartbeat(
        service_name=service, instance=instance, status="HEALTHY", leaving=True
    )
    message.time.GetCurrentTime()
    await bus.publish(
        subjects.heartbeat(service),
        message.SerializeToString(),
        message_id=f"farewell-{instance}",
        headers={subjects.HEADER_TYPE: SERVICE_HEARTBEAT},
    )


async def test_a_replica_that_leaves_in_order_is_not_missed_while_others_stay(
    ledger_dsn: str, nats_url: str, bus: Bus, free_port: int
) -> None:
    settings = settings_for(ledger_dsn, nats_url, free_port, heartbeat_timeout_seconds=20)
    async with running(settings) as process:
        await ready(process)
        await beat(bus, AI.name)
        await soon(partial(shows, free_port, "ai_service", "healthy"), 3)
        await farewell(bus, AI.name, "ai-of-another-node")
        await soon(partial(shows, free_port, "ai_service", "healthy"), 3)
        await farewell(bus, AI.name, f"{AI.name}-1")
        await soon(partial(shows, free_port, "ai_service", "degraded"), 3)
        await beat(bus, AI.name)
        await soon(partial(shows, free_port, "ai_service", "healthy"), 3)


async def test_health_answers_while_many_events_are_written(
    ledger_dsn: str, nats_url: str, bus: Bus, free_port: int
) -> None:
    """Incident 74: consumers starved the loop, and `/health` timed out."""
    async with running(settings_for(ledger_dsn, nats_url, free_port)) as process:
        await ready(process)
        facts = [outgoing(m) for n in range(400) for m in closed_trade(n)]
        sending = asyncio.create_task(bus.publish_all(facts, deadline=60))
        answers = 0
        while not (sending.done() and await _has(ledger_dsn, len(facts))):
            found = await service_health(free_port)
            assert found["status"] in ("healthy", "degraded")
            answers += 1
        await sending
        assert answers >= 3


_TOLD = "select count(*) from outbox where subject like '%.ai-service'"


async def _status_is(database: Database, status: str) -> bool:
    found = await database.pool.fetchval(
        "select status from service_status where service = $1", AI.name
    )
    return bool(found == status)


async def test_a_database_that_goes_away_costs_no_event(
    free_port: int, server_home: Path, nats_url: str
) -> None:
    """Incident 58: what fails while PostgreSQL is away comes again; nothing is dead-lettered."""
    own = PostgresServer(directory=server_home / "outage")
    await own.launch()
    bus = await Bus.connect(nats_url, "test")
    await bus.declare(STREAMS)
    try:
        dsn = own.dsn()
        await migrate(dsn, SCHEMA, MIGRATIONS)
        async with running(settings_for(dsn, nats_url, free_port)) as process:
            await ready(process)
            before = [outgoing(m) for n in range(20) for m in closed_trade(n)]
            await bus.publish_all(before)
            own.kill()
            await soon(partial(shows, free_port, "status", "critical"), 10)
            after = [outgoing(m) for n in range(20, 40) for m in closed_trade(n)]
            await bus.publish_all(after)
            await own.launch()
            await soon(partial(_has, dsn, len(before) + len(after)), 30)
            await soon(partial(shows, free_port, "status", "healthy"), 10)
        assert await count(dsn, "select count(*) from trades where status = 'closed'") == 40
        assert await count(dsn, "select count(*) from rejections") == 0
        assert (await rebuild(dsn, SCHEMA, check=True)).differences == ()
    finally:
        await bus.close()
        await own.stop()


async def _has(dsn: str, number: int) -> bool:
    return await count(dsn, _FACTS) >= number


async def test_nats_that_goes_away_is_told_and_comes_back(
    ledger_dsn: str, free_port: int, server_home: Path
) -> None:
    """Incident 108: silence while NATS is down is not called dead services."""
    own = NatsServer(directory=server_home / "nats-outage")
    await own.launch()
    bus = await Bus.connect(own.url, "test")
    await bus.declare(STREAMS)
    try:
        async with running(settings_for(ledger_dsn, own.url, free_port)) as process:
            await ready(process)
            await beat(bus, AI.name)
            await soon(partial(shows, free_port, "ai_service", "healthy"), 2)
            own.kill()
            await soon(partial(shows, free_port, "status", "critical"), 5)
            await soon(partial(shows, free_port, "ai_service", "critical"), 5)
            await own.launch()
            await eventually(lambda: bus.connected)
            await bus.publish_all([outgoing(m, time=MAY) for m in closed_trade(1)], deadline=20)
            await beat(bus, AI.name)
            await soon(partial(_has, ledger_dsn, 4), 20)
            await soon(partial(shows, free_port, "status", "healthy"), 10)
    finally:
        await bus.close()
        await own.stop()


async def test_the_service_starts_before_its_parts_and_says_what_it_waits_for(
    nats_url: str, postgres_dsn: str, free_port: int
) -> None:
    """Streams and a schema at head are waited for, not made by the service."""
    async with running(settings_for(postgres_dsn, nats_url, free_port)) as process:
        await eventually(lambda: any("is missing: qt streams" in r for r in process.reasons))
        bus = await Bus.connect(nats_url, "operator")
        await bus.declare(STREAMS)
        await bus.close()
        await eventually(lambda: any("migrate" in r for r in process.reasons))
        assert await shows(free_port, "status", "starting")
        await migrate(postgres_dsn, SCHEMA, MIGRATIONS)
        await ready(process)
        await soon(partial(shows, free_port, "status", "healthy"))
