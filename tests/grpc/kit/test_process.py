"""A process from its start to its stop: health, drain, switches, hooks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from quantum.ops.v1 import operations_service_pb2 as pb
from quantum.ops.v1 import operations_service_pb2_grpc as rpc

from services.catalog.processes import AI
from services.kit.clock import SystemClock
from services.kit.process import Process
from services.kit.settings import ProcessSettings

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Running:
    def __init__(self, process: Process, address: str) -> None:
        self.process = process
        self.channel = grpc.aio.insecure_channel(address)
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)
        self.operations = rpc.OperationsServiceStub(self.channel)
        self.steps: list[str] = []

    async def serving(self, name: str) -> int:
        answer = await self.health.Check(health_pb2.HealthCheckRequest(service=name), timeout=2)
        return int(answer.status)

    async def becomes(self, name: str, status: int) -> None:
        async with asyncio.timeout(3):
            while await self.serving(name) != status:
                await asyncio.sleep(0.02)


@pytest.fixture
async def running(tmp_path: Path, free_port: int) -> AsyncIterator[Running]:
    settings = ProcessSettings(
        grpc_address=f"127.0.0.1:{free_port}",
        drain_delay_seconds=0.05,
        drain_file=tmp_path / "drain",
        maintenance_file=tmp_path / "maintenance",
    )
    process = Process(AI, settings, SystemClock())
    running = Running(process, settings.grpc_address)

    async def build(started: Process) -> Any:
        async def note(step: str) -> None:
            running.steps.append(step)

        started.on_stop(lambda: note("database closed"))
        started.on_stop(lambda: note("bus closed"))
        started.on_drain(lambda: note("work stopped"))
        started.components.set("database", False, "connecting")
        return []

    task = asyncio.create_task(process.run(build))
    await running.channel.channel_ready()
    yield running
    process.stop()
    assert await task == 0
    assert running.steps == ["work stopped", "bus closed", "database closed"]
    await running.channel.close()


async def test_liveness_and_readiness_are_two_things(running: Running) -> None:
    await running.becomes("", SERVING)
    assert await running.serving(AI.grpc_service) == NOT_SERVING
    running.process.components.set("database", True)
    await running.becomes(AI.grpc_service, SERVING)


async def test_an_unknown_name_is_not_found(running: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.serving("quantum.nothing.v1.Service")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_drain_leaves_rotation_and_comes_back(running: Running) -> None:
    running.process.components.set("database", True)
    await running.becomes(AI.grpc_service, SERVING)
    await running.operations.Drain(pb.DrainRequest(enabled=True), timeout=2)
    await running.becomes(AI.grpc_service, NOT_SERVING)
    assert await running.serving("") == SERVING
    await running.operations.Drain(pb.DrainRequest(enabled=False), timeout=2)
    await running.becomes(AI.grpc_service, SERVING)


async def test_the_guides_files_drain_and_maintain(running: Running) -> None:
    settings = running.process.settings
    running.process.components.set("database", True)
    await running.becomes(AI.grpc_service, SERVING)
    settings.drain_file.touch()
    settings.maintenance_file.touch()
    await running.becomes(AI.grpc_service, NOT_SERVING)
    async with asyncio.timeout(3):
        while not running.process.maintenance:
            await asyncio.sleep(0.02)
    settings.drain_file.unlink()
    await running.becomes(AI.grpc_service, SERVING)


async def test_status_names_the_parts(running: Running) -> None:
    status = await running.operations.GetStatus(pb.GetStatusRequest(), timeout=2)
    assert [(c.name, c.ready, c.reason) for c in status.components] == [
        ("database", False, "connecting")
    ]


async def test_a_health_watch_sees_each_change(running: Running) -> None:
    watch = running.health.Watch(health_pb2.HealthCheckRequest(service=AI.grpc_service))
    assert (await watch.read()).status == NOT_SERVING
    running.process.components.set("database", True)
    assert (await watch.read()).status == SERVING
    watch.cancel()


async def test_a_crashed_task_ends_the_process_with_an_error(tmp_path: Path) -> None:
    process = Process(AI, ProcessSettings(drain_file=tmp_path / "d"), SystemClock())

    async def build(started: Process) -> Any:
        async def crash() -> None:
            raise RuntimeError("lost")

        started.spawn("doomed", crash())
        return []

    assert await process.run(build) == 1
