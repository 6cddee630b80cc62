"""Interceptors around methods of all four shapes, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.kit.errors import InvalidArgument, NotFound, Unavailable
from services.kit.interceptors import interceptors
from services.kit.observe.metrics import Metrics
from services.kit.observe.telemetry import Telemetry
from services.kit.observe.trace_context import current_trace_id, traceparent
from tests.support.eventually import eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def behave(text: bytes) -> bytes:
    match text:
        case b"missing":
            raise NotFound("no order 7", reason="ORDER_NOT_FOUND", metadata={"id": "7"})
        case b"crash":
            raise RuntimeError("secret detail")
        case b"slow":
            await asyncio.sleep(30)
        case b"trace":
            return current_trace_id().encode()
    return text


async def unary(request: bytes, context: Any) -> bytes:
    return await behave(request)


async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield b"first"
    yield await behave(request)


async def collect(requests: AsyncIterator[bytes], context: Any) -> bytes:
    return await behave(b"".join([r async for r in requests]))


async def chat(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield await behave(request)


@pytest.fixture
async def stack() -> AsyncIterator[tuple[grpc.aio.Channel, Metrics]]:
    metrics = Metrics("sample")
    telemetry = Telemetry(service="sample", instance="1", version="0", endpoint="")
    server = grpc.aio.server(
        interceptors=interceptors(metrics, telemetry, longest_call_seconds=0.3)
    )
    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel, metrics
    await server.stop(None)
    telemetry.close()


async def call(channel: Any, shape: str, text: bytes, **options: Any) -> list[bytes]:
    match shape:
        case "Unary":
            return [await channel.unary_unary("/t.Echo/Unary")(text, **options)]
        case "Stream":
            return [r async for r in channel.unary_stream("/t.Echo/Stream")(text, **options)]
        case "Collect":
            return [await channel.stream_unary("/t.Echo/Collect")(iter([text]), **options)]
        case _:
            return [r async for r in channel.stream_stream("/t.Echo/Chat")(iter([text]), **options)]


SHAPES = ("Unary", "Stream", "Collect", "Chat")


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_service_error_arrives_with_code_reason_and_details(stack: Any, shape: str) -> None:
    channel, metrics = stack
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(channel, shape, b"missing")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    error: Any = caught.value
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    assert status is not None and status.details[0].Unpack(info)
    assert (info.reason, info.metadata["id"]) == ("ORDER_NOT_FOUND", "7")

    def counted() -> bool:
        # the caller has its answer before the server has ended the call
        labels = {"grpc_service": "t.Echo", "grpc_method": shape, "grpc_code": "NOT_FOUND"}
        found = metrics.registry.get_sample_value("sample_grpc_server_handled_total", labels)
        return bool(found == 1)

    await eventually(counted)


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_unexpected_exception_tells_the_caller_nothing(stack: Any, shape: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(stack[0], shape, b"crash")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in (caught.value.details() or "")


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_callers_trace_is_seen_inside(stack: Any, shape: str) -> None:
    metadata = (("traceparent", traceparent(TRACE, sampled=True)),)
    answers = await call(stack[0], shape, b"trace", metadata=metadata)
    assert answers[-1] == TRACE.encode()


@pytest.mark.parametrize("shape", ["Unary", "Collect"])
async def test_a_call_without_a_deadline_is_given_one(stack: Any, shape: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(stack[0], shape, b"slow")
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("error", "kinds"),
    [
        (InvalidArgument.of("symbol", "is unknown"), {"ErrorInfo", "BadRequest"}),
        (Unavailable("starting", retry_seconds=1.5), {"ErrorInfo", "RetryInfo"}),
    ],
)
def test_details_fit_the_code(error: Any, kinds: set[str]) -> None:
    from services.kit.interceptors.errors import status_of

    status: status_pb2.Status = status_of(error)
    assert {d.type_url.rsplit(".", 1)[1] for d in status.details} == kinds
