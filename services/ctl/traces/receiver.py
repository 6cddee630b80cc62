"""The OTLP receiver: every export is stored, and passed on where there is another collector."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as rpc

from services.ctl.traces.span import spans_of
from services.ctl.traces.store import SpanStore
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

_TRIM_SECONDS = 60.0
_FORWARD_SECONDS = 5.0
_WAITING = 256
"""Exports that wait for the other collector; more are stored here and not passed on."""
_MOST_BYTES = 16 << 20


class Receiver(rpc.TraceServiceServicer):
    """`TraceService/Export` into a store."""

    def __init__(self, store: SpanStore, *, forward: str = "") -> None:
        """`forward` names another OTLP/gRPC collector that gets every export too."""
        self._store = store
        self._forward = forward
        self._waiting: asyncio.Queue[pb.ExportTraceServiceRequest] = asyncio.Queue(_WAITING)
        self.port = 0

    async def Export(  # noqa: N802 - the contract's name
        self, request: pb.ExportTraceServiceRequest, context: Any
    ) -> pb.ExportTraceServiceResponse:
        """Store an export; the sender tries again when that fails."""
        del context
        self._store.put(spans_of(request))
        if self._forward:
            try:
                self._waiting.put_nowait(request)
            except asyncio.QueueFull:
                log.warning("export_not_passed_on", collector=self._forward)
        return pb.ExportTraceServiceResponse()

    @contextlib.asynccontextmanager
    async def serve(self, address: str) -> AsyncIterator[Receiver]:
        """Listen for the time of an `async with`."""
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", _MOST_BYTES)])
        add: Any = rpc.add_TraceServiceServicer_to_server
        add(self, server)
        self.port = server.add_insecure_port(address)
        await server.start()
        tasks = [asyncio.create_task(self._trim())]
        if self._forward:
            tasks.append(asyncio.create_task(self._pass_on()))
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.stop(1.0)

    async def _trim(self) -> None:
        while True:
            forgotten = self._store.trim(time.time_ns())
            if forgotten:
                log.info("spans_forgotten", spans=forgotten)
            await asyncio.sleep(_TRIM_SECONDS)

    async def _pass_on(self) -> None:
        target = self._forward.partition("://")[2] or self._forward
        secure = self._forward.startswith("https:")
        channel = (
            grpc.aio.secure_channel(target, grpc.ssl_channel_credentials())
            if secure
            else grpc.aio.insecure_channel(target)
        )
        async with channel:
            stub: Any = rpc.TraceServiceStub
            collector = stub(channel)
            while True:
                request = await self._waiting.get()
                try:
                    await collector.Export(request, timeout=_FORWARD_SECONDS)
                except grpc.aio.AioRpcError as error:
                    log.warning(
                        "export_not_passed_on", collector=self._forward, code=error.code().name
                    )
