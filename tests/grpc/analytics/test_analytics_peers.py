"""analytics asks its peers by authority over one door, forgives one miss, and traces news."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.analytics.health.peers import CHECK, Peers
from services.catalog.subjects import HEADER_TRACE
from services.kit.interceptors.tracing import TracingInterceptor
from services.kit.observe.telemetry import Telemetry


def telemetry(name: str = "analytics") -> tuple[Telemetry, InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    made = Telemetry(service=name, instance="1", version="0", processor=SimpleSpanProcessor(kept))
    return made, kept


class Seen(grpc.aio.ServerInterceptor):
    """Keeps the traceparent of every call."""

    def __init__(self) -> None:
        self.flags: list[str] = []

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        found = dict(handler_call_details.invocation_metadata)[HEADER_TRACE]
        self.flags.append(found[-2:])
        return await continuation(handler_call_details)


@asynccontextmanager
async def answering(target: str, *interceptors: Any) -> AsyncIterator[None]:
    server = grpc.aio.server(interceptors=interceptors)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(), server)
    server.add_insecure_port(target)
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


async def test_a_peer_is_silent_after_two_misses_and_again_heard_after_one_answer(
    tmp_path: Path,
) -> None:
    target = f"unix:{tmp_path}/door"
    peers = Peers(target, ["ai-service", "exec-risk-service"], telemetry()[0])
    await peers.ask()
    assert peers.silent == {}
    await peers.ask()
    assert set(peers.silent) == {"ai-service", "exec-risk-service"}
    assert peers.silent["ai-service"].startswith("does not answer calls (")
    async with answering(target):
        for channel in peers._channels.values():
            await channel.channel_ready()
        await peers.ask()
        assert peers.silent == {}
        await peers.close()


async def test_an_answer_that_is_new_is_traced_all_the_way_and_a_repeated_one_is_not(
    tmp_path: Path,
) -> None:
    target = f"unix:{tmp_path}/door"
    made, asked = telemetry()
    theirs, answered = telemetry("ai")
    peers = Peers(target, ["ai-service"], made)
    for _ in range(3):
        await peers.ask()
    [first] = asked.get_finished_spans()
    assert (first.name, first.status.is_ok) == (CHECK, False)
    seen = Seen()
    async with answering(target, seen, TracingInterceptor(theirs)):
        await peers._channels["ai-service"].channel_ready()
        for _ in range(5):
            await peers.ask()
        await peers.close()
    assert seen.flags == ["00", "01", "00", "00", "00"], "the change is told, then traced"
    _, change, through = asked.get_finished_spans()
    [below] = answered.get_finished_spans()
    assert through.context is not None and below.parent is not None
    assert change.status.is_ok and below.parent.span_id == through.context.span_id
    assert below.name == CHECK


async def test_without_a_mesh_nobody_is_asked() -> None:
    peers = Peers("", ["ai-service"], telemetry()[0])
    for _ in range(3):
        await peers.ask()
    assert peers.silent == {}
