"""Real Envoy with the rendered configuration in front of real gRPC servers."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from quantum.ai.v1 import ai_service_pb2, ai_service_pb2_grpc
from yarl import URL

from services.catalog.processes import AI, SERVICES
from tests.support.eventually import eventually
from tests.support.front_door import FrontDoor, opened, settings

SERVING = health_pb2.HealthCheckResponse.SERVING


REPLICAS = (("ai", "ai-1"), ("ai", "ai-2"), ("exec_risk", "exec_risk"), ("analytics", "analytics"))


@pytest_asyncio.fixture
async def door(tmp_path: Path) -> AsyncIterator[FrontDoor]:
    """Two replicas of ai and one of each other service behind a gateway that limits no caller."""
    unlimited = settings(gateway_calls_per_second=100_000)
    async with opened(tmp_path, REPLICAS, unlimited) as door:

        async def both() -> bool:
            return await answering(door) == {"ai-1", "ai-2"}

        await eventually(both, 30)
        yield door


def unready(door: FrontDoor, instance: str) -> Path:
    return door.folder / f"{instance}.unready"


async def get(url: str, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as told:
        return told.status, await told.text()


async def answering(door: FrontDoor, calls: int = 40) -> set[str]:
    """Return which ai replicas answer; every call must succeed."""
    seen = set()
    for _ in range(calls):
        status, text = await get(door.url("ingress", "/v1/ai/health"))
        assert status == 200, text
        seen.add("ai-1" if '"ai-1"' in text else "ai-2")
    return seen


async def test_health_and_ready_on_the_health_ports_and_nothing_else(door: FrontDoor) -> None:
    for service in SERVICES:
        status, text = await get(door.url(service.key, "/health"))
        assert status == 200
        assert '"status":"healthy"' in text and '"uptime_seconds":0' in text, "defaults are printed"
        assert (await get(door.url(service.key, "/ready")))[0] == 200
        for other in ("/v1/ai/health", "/v1/ai/models", "/v1/exec-risk/positions", "/"):
            assert (await get(door.url(service.key, other)))[0] == 404


async def test_not_ready_is_503_with_the_components_also_when_out_of_rotation(
    door: FrontDoor,
) -> None:
    unready(door, "exec_risk").touch()
    await asyncio.sleep(1.5)
    status, text = await get(door.url("exec_risk", "/ready"))
    assert status == 503
    assert '"metadata":{"postgres":"no answer"}' in text
    assert (await get(door.url("exec_risk", "/health")))[0] == 200
    assert (await get(door.url("ingress", "/v1/exec-risk/health")))[0] == 503, "no healthy replica"


async def test_an_unready_replica_leaves_rotation_and_returns_without_a_failed_call(
    door: FrontDoor,
) -> None:
    unready(door, "ai-1").touch()

    async def only_the_other() -> bool:
        return await answering(door) == {"ai-2"}

    await eventually(only_the_other, 15)
    unready(door, "ai-1").unlink()

    async def both() -> bool:
        return await answering(door) == {"ai-1", "ai-2"}

    await eventually(both, 15)


async def test_a_killed_replica_costs_no_read(door: FrontDoor) -> None:
    door.replicas["ai-1"].send_signal(signal.SIGKILL)
    assert "ai-2" in await answering(door, 200)
    assert (await get(door.url("ai", "/health")))[0] == 200, "the health port passes it over"


async def test_calls_are_spread_evenly_over_replicas(door: FrontDoor) -> None:
    """Each within ten percent of its share, of 1,600 calls: four standard deviations."""
    answered: Counter[str] = Counter()
    async with door.channel("ingress") as channel:
        ask: Any = channel.unary_unary(f"/{AI.grpc_service}/GetHealth")

        async def caller() -> None:
            for _ in range(400):
                told = await ask(b"", timeout=10)
                answered["ai-1" if b"ai-1" in told else "ai-2"] += 1

        await asyncio.gather(*(caller() for _ in range(4)))
    assert all(abs(count / 800 - 1) <= 0.1 for count in answered.values()), answered


async def test_grpc_health_and_reflection_of_each_port(door: FrontDoor) -> None:
    for name in ("ingress", *(service.key for service in SERVICES)):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{door.ports[name]}") as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(  # type: ignore[attr-defined]
                health_pb2.HealthCheckRequest(), timeout=5
            )
            assert answer.status == SERVING
        with grpc.insecure_channel(f"127.0.0.1:{door.ports[name]}") as blocking:
            listed = await asyncio.to_thread(
                ProtoReflectionDescriptorDatabase(blocking).get_services
            )
        assert any(listed)


async def test_grpc_and_grpc_web_reach_a_service(door: FrontDoor) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{door.ports['ingress']}") as channel:
        stub = ai_service_pb2_grpc.AiServiceStub(channel)
        answer = await stub.GetHealth(ai_service_pb2.GetHealthRequest(), timeout=5)
        assert answer.status == "healthy"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            unknown: Any = channel.unary_unary("/quantum.ops.v1.OperationsService/Drain")
            await unknown(b"", timeout=5)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED, "inside only"
    url = door.url("ingress", f"/{AI.grpc_service}/GetHealth")
    headers = {"content-type": "application/grpc-web+proto"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=bytes(5), headers=headers) as told,
    ):
        body = await told.read()
    assert told.status == 200 and b"healthy" in body and b"grpc-status:0" in body


async def test_grpcurl_lists_describes_probes_and_calls(door: FrontDoor) -> None:
    async def grpcurl(*arguments: str) -> str:
        address = f"127.0.0.1:{door.ports['ingress']}"
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("grpcurl")),
            "-plaintext",
            address,
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        text, _ = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0, text
        return text.decode()

    listed = await grpcurl("list")
    assert {service.grpc_service for service in SERVICES} <= set(listed.split())
    assert "rpc GetSignal" in await grpcurl("describe", AI.grpc_service)
    assert "SERVING" in await grpcurl("grpc.health.v1.Health/Check")
    assert "healthy" in await grpcurl(f"{AI.grpc_service}/GetHealth")


async def test_escaped_slashes_and_unknown_paths_are_refused(door: FrontDoor) -> None:
    assert (await get(door.url("ingress", "/v1/ai/nothing")))[0] == 404
    async with aiohttp.ClientSession() as session:
        url = URL(door.url("ingress", "/v1/ai%2Fhealth"), encoded=True)
        async with session.get(url) as told:
            assert told.status == 400
