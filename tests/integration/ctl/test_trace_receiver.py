"""Spans over OTLP: from a process into the store, and on to another collector."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.ctl.traces.receiver import Receiver
from services.ctl.traces.store import SpanStore
from services.kit.observe.telemetry import Telemetry, now
from services.kit.observe.trace_context import TraceContext
from tests.support.eventually import eventually


async def test_an_export_is_stored_and_passed_on(tmp_path: Path) -> None:
    here, other = (SpanStore.open(tmp_path / name) for name in ("here.sqlite", "other.sqlite"))
    place = TraceContext.new(sampled=True)
    async with Receiver(other).serve("127.0.0.1:0") as collector:
        forward = f"http://127.0.0.1:{collector.port}"
        async with Receiver(here, forward=forward).serve("127.0.0.1:0") as receiver:
            telemetry = Telemetry(
                service="sample",
                instance="s-1",
                version="0",
                endpoint=f"http://127.0.0.1:{receiver.port}",
            )
            began = now()
            telemetry.write("x", place, start=began, end=began + 7, attributes={"a": 1, "b": "c"})
            await asyncio.to_thread(telemetry.close)
            (span,) = here.trace(place.trace_id)
            assert (span.name, span.service, span.instance) == ("x", "sample", "s-1")
            assert (span.end - span.start, span.attributes) == (7, {"a": 1, "b": "c"})

            await eventually(lambda: other.trace(place.trace_id) == [span], 5.0)
    here.close()
    other.close()


async def test_a_collector_that_is_away_costs_nothing_but_its_copy(tmp_path: Path) -> None:
    store = SpanStore.open(tmp_path / "here.sqlite")
    async with Receiver(store, forward="http://127.0.0.1:1").serve("127.0.0.1:0") as receiver:
        telemetry = Telemetry(
            service="sample",
            instance="s-1",
            version="0",
            endpoint=f"http://127.0.0.1:{receiver.port}",
        )
        place = TraceContext.new(sampled=True)
        telemetry.write("x", place, start=1, end=now())
        await asyncio.to_thread(telemetry.close)
        assert len(store.trace(place.trace_id)) == 1
    store.close()
