"""A loop that is kept busy shows it: in the metric, and in the log where health would suffer."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import CapturingLogger

from services.kit.clock import SystemClock
from services.kit.observe import loop_delay
from services.kit.observe.loop_delay import LONG_SECONDS, LOOK_SECONDS, LoopDelay

NAME = "process_event_loop_delay_seconds"


async def test_a_busy_loop_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, log, busy = CollectorRegistry(), CapturingLogger(), 2 * LONG_SECONDS
    monkeypatch.setattr(loop_delay, "log", log)
    measuring = asyncio.create_task(LoopDelay(registry, SystemClock()).run())
    await asyncio.sleep(0)
    time.sleep(busy)  # noqa: ASYNC251 - what it is about
    while not (registry.get_sample_value(f"{NAME}_count") or 0):
        await asyncio.sleep(LOOK_SECONDS / 10)
    measuring.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await measuring
    assert (registry.get_sample_value(f"{NAME}_sum") or 0) >= busy - LOOK_SECONDS
    assert [call.args for call in log.calls] == [("event_loop_delayed",)]
