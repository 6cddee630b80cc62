"""Replicas of ai as processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
from quantum.ai.v1 import ai_service_pb2 as pb
from quantum.ai.v1 import ai_service_pb2_grpc as rpc

from tests.support.eventually import eventually


class Replica:
    """One `python -m services.ai`."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self.process = process
        self.address = address

    async def health(self) -> pb.GetHealthResponse:
        async with grpc.aio.insecure_channel(self.address) as opened:
            stub = rpc.AiServiceStub(opened)
            return await stub.GetHealth(pb.GetHealthRequest(), timeout=40, wait_for_ready=True)

    async def becomes_ready(self) -> None:
        async def ready() -> bool:
            return (await self.health()).status == "healthy"

        await eventually(ready, deadline=60)

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


StartReplica = Callable[..., Coroutine[Any, Any, Replica]]
