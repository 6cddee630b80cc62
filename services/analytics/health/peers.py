"""Asks other services through the mesh whether they answer: a heartbeat alone does not show it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.catalog.subjects import HEADER_TRACE
from services.kit.observe.telemetry import SpanKind, Telemetry, now
from services.kit.observe.trace_context import TraceContext

ANSWER_SECONDS = 2.0
MISSES = 2
"""Questions in a row without an answer before it counts: one may fall into a restart."""
CHECK = "grpc.health.v1.Health/Check"


class Peers:
    """The services that are asked, by process name, which is how the sidecar knows them."""

    def __init__(self, target: str, names: Sequence[str], telemetry: Telemetry) -> None:
        """`target` is the sidecar's door for own calls; nobody is asked when it is empty."""
        self._target = target
        self._telemetry = telemetry
        self._names = tuple(names) if target else ()
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._told: dict[str, str] = {}
        self._traced: dict[str, str] = {}
        self._missed: dict[str, int] = {}
        self._silent: dict[str, str] = {}

    @property
    def silent(self) -> Mapping[str, str]:
        """Services that do not answer, each with the reason."""
        return self._silent

    async def ask(self) -> None:
        """Ask each once whether it lives."""
        await asyncio.gather(*(self._ask(name) for name in self._names))

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels.values():
            await channel.close()

    async def _ask(self, name: str) -> None:
        told, traced = self._told.get(name), self._traced.get(name)
        # proxies are told before they work: an answer is traced all the way when it is given again
        place = TraceContext.new(sampled=told is None or told != traced)
        began = now()
        code = await self._check(name, place)
        if code == "ok":
            self._missed.pop(name, None)
            self._silent.pop(name, None)
        else:
            self._missed[name] = self._missed.get(name, 0) + 1
            if self._missed[name] >= MISSES:
                self._silent[name] = f"does not answer calls ({code})"
        self._told[name] = code
        if place.sampled:
            self._traced[name] = code
        if place.sampled or code != told:
            self._write(name, place, began, code)

    async def _check(self, name: str, place: TraceContext) -> str:
        """Return how a service answered, as a code in lower case."""
        if name not in self._channels:
            options = [("grpc.default_authority", name)]
            self._channels[name] = grpc.aio.insecure_channel(self._target, options=options)
        stub: Any = health_pb2_grpc.HealthStub(self._channels[name])
        trace = ((HEADER_TRACE, place.header()),)
        question = health_pb2.HealthCheckRequest()
        try:
            await stub.Check(question, timeout=ANSWER_SECONDS, metadata=trace)
        except grpc.aio.AioRpcError as error:
            return error.code().name.lower()
        return "ok"

    def _write(self, name: str, place: TraceContext, began: int, code: str) -> None:
        service, _, method = CHECK.partition("/")
        self._telemetry.write(
            CHECK,
            place,
            start=began,
            end=now(),
            kind=SpanKind.CLIENT,
            attributes={
                "rpc.system": "grpc",
                "rpc.service": service,
                "rpc.method": method,
                "rpc.grpc.status_code": grpc.StatusCode[code.upper()].value[0],
                "server.address": name,
            },
            error="" if code == "ok" else code,
        )
