"""The bus, replicas of ai on it, and all that they answer."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.catalog import subjects
from services.ctl.servers.free import free_port
from services.kit.bus.bus import Bus
from tests.integration.ai.candle_bus import Answers
from tests.integration.ai.replicas import Replica, StartReplica


@pytest.fixture
async def start_replica(nats_url: str, tmp_path: Path) -> AsyncIterator[StartReplica]:
    running: list[Replica] = []

    async def start(**settings: str) -> Replica:
        address = f"127.0.0.1:{free_port()}"
        environment = {
            **os.environ,
            "NATS_URL": nats_url,
            "GRPC_ADDRESS": address,
            "DRAIN_DELAY_SECONDS": "0",
            "DRAIN_FILE": str(tmp_path / "drain"),
            "MAINTENANCE_FILE": str(tmp_path / "maintenance"),
            "LOG_LEVEL": "WARNING",
            **settings,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.ai", env=environment
        )
        running.append(Replica(process, address))
        return running[-1]

    yield start
    for replica in running:
        if replica.process.returncode is None:
            replica.process.terminate()
    for replica in running:
        async with asyncio.timeout(15):
            await replica.process.wait()


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    opened = await Bus.connect(nats_url, "test")
    await opened.declare(subjects.STREAMS)
    yield opened
    await opened.close()


@pytest.fixture
async def answers(bus: Bus) -> Answers:
    found = Answers()
    await found.start(bus)
    return found
