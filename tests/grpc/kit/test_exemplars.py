"""`/metrics` in OpenMetrics ties a measured call to the trace that was written of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import grpc
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from services.catalog.subjects import HEADER_TRACE
from services.kit.errors import NotFound
from services.kit.interceptors import interceptors
from services.kit.observe.metrics import Metrics, MetricsServer
from services.kit.observe.telemetry import Telemetry
from services.kit.observe.trace_context import TraceContext

OPENMETRICS = "application/openmetrics-text"


async def answer(request: bytes, context: Any) -> bytes:
    if request == b"missing":
        raise NotFound("no order 7", reason="ORDER_NOT_FOUND", metadata={"id": "7"})
    return request


@dataclass
class Measured:
    """A server, its `/metrics`, and a client."""

    channel: grpc.aio.Channel
    metrics: MetricsServer

    async def call(self, place: TraceContext, request: bytes = b"x") -> None:
        """Call once in a place of a trace."""
        stub: Any = self.channel.unary_unary("/t.Echo/Say")
        try:
            await stub(request, metadata=[(HEADER_TRACE, place.header())], timeout=5)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND

    async def read(self, accept: str) -> tuple[str, str]:
        """Return the type and text of `/metrics`."""
        url = f"http://127.0.0.1:{self.metrics.port}/metrics"
        async with (
            aiohttp.ClientSession(headers={"Accept": accept}) as session,
            session.get(url) as told,
        ):
            return told.content_type, await told.text()

    async def exemplars(self) -> set[str]:
        """Return the trace ids that the measured calls carry, read by Prometheus' own parser."""
        kind, text = await self.read(f"{OPENMETRICS}; version=1.0.0")
        assert kind == OPENMETRICS
        return {
            sample.exemplar.labels["trace_id"]
            for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
            for sample in family.samples
            if sample.exemplar is not None and "grpc_server_handling_seconds" in sample.name
        }


@pytest.fixture
async def measured() -> AsyncIterator[Measured]:
    metrics = Metrics("sample")
    telemetry = Telemetry(service="sample", instance="1", version="0")
    server = grpc.aio.server(interceptors=interceptors(metrics, telemetry))
    handlers: dict[str, Any] = {"Say": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    served = metrics.serve("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Measured(channel, served)
    served.close()
    await server.stop(None)


async def test_a_call_whose_spans_are_written_leads_to_its_trace(measured: Measured) -> None:
    written = TraceContext.new(sampled=True)
    await measured.call(written)
    assert await measured.exemplars() == {written.trace_id}


async def test_a_call_that_fails_leads_to_its_trace_whatever_its_flag_says(
    measured: Measured,
) -> None:
    failed = TraceContext.new(sampled=False)
    await measured.call(failed, b"missing")
    assert await measured.exemplars() == {failed.trace_id}


async def test_a_call_of_which_nothing_is_written_leads_nowhere(measured: Measured) -> None:
    await measured.call(TraceContext.new(sampled=False))
    assert await measured.exemplars() == set()
    _, text = await measured.read(OPENMETRICS)
    assert "sample_grpc_server_handling_seconds_count" in text, "it is measured all the same"


async def test_who_asks_for_the_older_format_gets_no_exemplars(measured: Measured) -> None:
    await measured.call(TraceContext.new(sampled=True))
    kind, text = await measured.read("text/plain")
    assert kind == "text/plain" and "trace_id" not in text
