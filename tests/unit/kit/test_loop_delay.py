"""A loop that is kept busy shows it: in the metric, and in the log where health would suffer."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from services.kit.clock import SystemClock
from services.kit.observe.loop_delay import LONG_SECONDS, LOOK_SECONDS, LoopDelay

NAME = "process_event_loop_delay_seconds"


@pytest.mark.parametrize(("busy", "told"), [(0.0, False), (2 * LONG_SECONDS, True)])
async def test_a_busy_loop_is_seen(busy: float, told: bool) -> None:
    registry = CollectorRegistry()
    with capture_logs() as logs:
        measuring = asyncio.create_task(LoopDelay(registry, SystemClock()).run())
        await asyncio.sleep(0)
        time.sleep(busy)  # noqa: ASYNC251 - what it is about
        while not (registry.get_sample_value(f"{NAME}_count") or 0):
            await asyncio.sleep(LOOK_SECONDS / 10)
        measuring.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await measuring
    assert (registry.get_sample_value(f"{NAME}_sum") or 0) >= max(0, busy - LOOK_SECONDS)
    assert any(line["event"] == "event_loop_delayed" for line in logs) >= told
