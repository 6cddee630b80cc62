"""Heartbeats on a real bus: at the interval, and at once when the status changes."""

from __future__ import annotations

import asyncio
import contextlib

from quantum.ops.v1 import operations_service_pb2 as pb

from services.catalog import subjects
from services.catalog.processes import AI
from services.kit.bus.bus import Bus, Message
from services.kit.clock import SystemClock
from services.kit.heartbeat import Heartbeats
from services.kit.process import Process
from services.kit.settings import ProcessSettings
from tests.support.eventually import eventually


async def test_a_change_is_told_long_before_the_interval_is_over(nats_url: str) -> None:
    settings = ProcessSettings(_env_file=None, heartbeat_interval_seconds=60)
    process = Process(AI, settings, SystemClock())
    process.components.set("exchange", False, "the user stream is down")
    bus = await Bus.connect(nats_url, "test")
    await bus.declare(subjects.STREAMS)
    told: list[pb.ServiceHeartbeat] = []

    def hear(message: Message) -> None:
        told.append(pb.ServiceHeartbeat.FromString(message.data))

    await bus.follow(subjects.LIVE.name, subjects.ALL_HEARTBEATS, hear)
    beating = asyncio.create_task(Heartbeats(process, bus).run())
    await eventually(lambda: len(told) == 1, 5)
    process.components.set("exchange", True)
    await eventually(lambda: len(told) == 2, 5)
    process.degraded["ledger"] = "a batch waits"
    await eventually(lambda: len(told) == 3, 5)
    await asyncio.sleep(1)
    beating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beating
    await bus.close()
    assert [beat.status for beat in told] == ["CRITICAL", "HEALTHY", "DEGRADED"]
