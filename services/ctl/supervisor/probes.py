"""How a process of our own is asked: `grpc.health.v1`."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from quantum.ops.v1 import operations_service_pb2 as ops_pb
from quantum.ops.v1 import operations_service_pb2_grpc as ops_rpc

from services.ctl.servers.command import NotReady, Probe

ANSWER_SECONDS = 3.0
SERVING = health_pb2.HealthCheckResponse.SERVING
CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.use_local_subchannel_pool", 1),
]


class HealthProbe:
    """Asks one address for the health of a name, over a channel that it keeps."""

    def __init__(self, address: str) -> None:
        """The channel is opened at the first question, inside the running loop."""
        self._address = address
        self._health: Any = None
        self._operations: Any = None

    def of(self, service: str) -> Probe:
        """Return the probe of a name: empty for liveness, the full service name for readiness."""

        async def ask() -> None:
            await self._ask(service)

        return ask

    async def _ask(self, service: str) -> None:
        if self._health is None:
            channel = grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS)
            self._health = health_pb2_grpc.HealthStub(channel)
            self._operations = ops_rpc.OperationsServiceStub(channel)
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = await self._health.Check(request, timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            code = error.code().name.lower()
            raise NotReady(f"health of {self._address}: {code} {error.details() or ''}") from error
        if answer.status != SERVING:
            raise NotReady(await self._why() if service else "not live")

    async def _why(self) -> str:
        """Return which parts are not ready, as the process itself tells."""
        try:
            request = ops_pb.GetStatusRequest()
            status = await self._operations.GetStatus(request, timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            return f"not serving ({error.code().name.lower()})"
        if status.draining:
            return "draining"
        open_parts = [f"{part.name}: {part.reason}" for part in status.components if not part.ready]
        return "; ".join(open_parts) or "not serving"
