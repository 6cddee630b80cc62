"""The health check of a container, run as Docker runs it, against a real server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    servicer = HealthServicer()
    await servicer.set("", SERVING)
    await servicer.set("quantum.ai.v1.AiService", NOT_SERVING)
    running = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, running)
    port = running.add_insecure_port("127.0.0.1:0")
    socket = f"unix:{tmp_path / 's'}"
    running.add_insecure_port(socket)
    await running.start()
    yield f"0.0.0.0:{port}", socket
    await running.stop(0)


async def check(address: str, *service: str) -> tuple[int | None, str]:
    asked = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.ctl.healthcheck",
        *service,
        env={**os.environ, "GRPC_ADDRESS": address},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asked.communicate()
    return asked.returncode, said.decode()


async def test_it_tells_liveness_and_readiness_apart(server: tuple[str, str]) -> None:
    """Incident 107: the check runs with what the image has, Python, and needs no curl."""
    for address in server:
        assert await check(address) == (0, "")
        code, said = await check(address, "quantum.ai.v1.AiService")
        assert code == 1
        assert "NOT_SERVING" in said


async def test_a_name_that_is_not_served_and_nobody_there_are_unhealthy(
    server: tuple[str, str], tmp_path: Path
) -> None:
    assert (await check(server[0], "no.such.Service"))[0] == 1
    assert (await check(f"unix:{tmp_path / 'nobody'}"))[0] == 1
