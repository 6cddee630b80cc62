"""What the real gateway writes of a call is its own choice, or that of this machine's callers."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from services.ctl.render.tracing import Tracing
from services.ctl.traces.receiver import Receiver
from services.ctl.traces.store import SpanStore
from services.kit.observe.trace_context import TraceContext
from tests.support.eventually import eventually
from tests.support.front_door import FrontDoor, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/v1/ai/health"


@dataclass
class Traced:
    """A gateway and the collector that it writes to."""

    door: FrontDoor
    store: SpanStore

    async def ask(self, name: str, **headers: str) -> None:
        """Call through a door."""
        status, text = await self.door.get(name, PATH, **headers)
        assert status == 200, text

    async def written(self, trace_id: str) -> None:
        """Wait for the gateway's span."""

        def there() -> bool:
            return [span.service for span in self.store.trace(trace_id)] == ["gateway"]

        await eventually(there, 10)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traced(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Traced]:
    folder = tmp_path_factory.mktemp("traced")
    store = SpanStore.open(folder / "spans.sqlite")
    async with (
        Receiver(store).serve("127.0.0.1:0") as collector,
        opened(folder, tracing=Tracing("127.0.0.1", collector.port)) as door,
    ):
        yield Traced(door, store)
    store.close()


async def test_a_caller_from_elsewhere_names_its_trace_and_does_not_have_it_written(
    traced: Traced,
) -> None:
    """At the TLS door the flag is taken down; what is asked on this machine is written."""
    outside = [TraceContext.new(sampled=True) for _ in range(30)]
    forced = {"x-envoy-force-trace": "1", "x-client-trace-id": "mine", "tracestate": "a=b"}
    for place in outside:
        await traced.ask("tls", traceparent=place.header(), **forced)
    inside = TraceContext.new(sampled=True)
    await traced.ask("ingress", traceparent=inside.header())
    await traced.written(inside.trace_id)
    assert not [place for place in outside if traced.store.trace(place.trace_id)]
    [span] = traced.store.trace(inside.trace_id)
    assert span.parent_id == inside.span_id

    def told() -> bool:
        seen = {line.get("trace") for line in traced.door.log() if line["event"] == "call"}
        return {inside.trace_id, *(place.trace_id for place in outside)} <= seen

    await eventually(told, 5)


@pytest.mark.parametrize("flags", ["00", "03", "ff"])
async def test_other_flags_are_down_too(traced: Traced, flags: str) -> None:
    trace_id = secrets.token_hex(16)
    await traced.ask("tls", traceparent=f"00-{trace_id}-{secrets.token_hex(8)}-{flags}")
    control = TraceContext.new(sampled=True)
    await traced.ask("ingress", traceparent=control.header())
    await traced.written(control.trace_id)
    assert not traced.store.trace(trace_id)


@pytest.mark.parametrize("header", ["rubbish", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "x" * 90])
async def test_a_header_that_is_none_does_no_harm(traced: Traced, header: str) -> None:
    for name in ("tls", "ingress"):
        await traced.ask(name, traceparent=header)


async def test_a_share_of_the_calls_without_a_trace_is_written(traced: Traced) -> None:
    """Five in a hundred: of 400 calls some, and far from all."""
    before = len(traced.store.list(10_000))
    async with traced.door.session() as session:
        for _ in range(400):
            async with session.get(traced.door.url("tls", PATH)) as told:
                assert told.status == 200
    control = TraceContext.new(sampled=True)
    await traced.ask("ingress", traceparent=control.header())
    await traced.written(control.trace_id)
    assert 3 <= len(traced.store.list(10_000)) - before - 1 <= 60
