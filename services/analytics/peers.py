"""Asks other services through the mesh whether they answer: a heartbeat alone does not show it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

ANSWER_SECONDS = 2.0
MISSES = 2
"""Questions in a row without an answer before it counts: one may fall into a restart."""


class Peers:
    """The services that are asked, by process name, which is how the sidecar knows them."""

    def __init__(self, target: str, names: Sequence[str]) -> None:
        """`target` is the sidecar's door for own calls; nobody is asked when it is empty."""
        self._target = target
        self._names = tuple(names) if target else ()
        self._channels: dict[str, grpc.aio.Channel] = {}
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
        if name not in self._channels:
            options = [("grpc.default_authority", name)]
            self._channels[name] = grpc.aio.insecure_channel(self._target, options=options)
        stub: Any = health_pb2_grpc.HealthStub(self._channels[name])
        try:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            self._missed[name] = self._missed.get(name, 0) + 1
            if self._missed[name] >= MISSES:
                self._silent[name] = f"does not answer calls ({error.code().name.lower()})"
        else:
            self._missed.pop(name, None)
            self._silent.pop(name, None)
