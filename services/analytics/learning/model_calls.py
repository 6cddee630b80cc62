"""Calls to the ai service that put artifacts in their place."""

from __future__ import annotations

from typing import Any

import grpc
from quantum.ai.v1 import ai_service_pb2 as ai
from quantum.ai.v1 import ai_service_pb2_grpc as rpc
from quantum.ai.v1 import registry_pb2

from services.catalog.processes import AI

_SECONDS = 10.0
_REFUSED = (
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
)
BY = "clm"


class Refused(Exception):
    """The ai service says no, and will say so again."""


class Away(Exception):
    """The ai service did not answer; it may have done what was asked."""


class ModelCalls:
    """Deploys and takes back; each call may be repeated."""

    def __init__(self, target: str) -> None:
        """`target` is the sidecar's door for own calls."""
        self._target = target
        self._channel: grpc.aio.Channel | None = None

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()

    async def activate(self, version: str, job: str, reason: str) -> None:
        """Have an artifact make the signals."""
        await self._deploy(version, registry_pb2.STAGE_ACTIVE, f"{job}-active", reason)

    async def shadow(self, version: str, job: str, reason: str) -> None:
        """Have an artifact answer in the shadow; none when the version is empty."""
        await self._deploy(version, registry_pb2.STAGE_SHADOW, f"{job}-shadow", reason)

    async def roll_back(self, version: str, job: str, reason: str) -> None:
        """Take an active artifact away."""
        request = ai.RollbackModelRequest(
            version=version, reason=reason, request_id=f"{job}-back", changed_by=BY
        )
        await self._call("RollbackModel", request)

    async def _deploy(
        self, version: str, stage: registry_pb2.Stage.ValueType, request_id: str, reason: str
    ) -> None:
        request = ai.DeployModelRequest(
            version=version, stage=stage, reason=reason, request_id=request_id, changed_by=BY
        )
        await self._call("DeployModel", request)

    async def _call(self, method: str, request: Any) -> None:
        if not self._target:
            raise Away("MESH_TARGET is not set: the ai service cannot be called")
        if self._channel is None:
            options = [("grpc.default_authority", AI.name)]
            self._channel = grpc.aio.insecure_channel(self._target, options=options)
        stub: Any = rpc.AiServiceStub(self._channel)
        try:
            await getattr(stub, method)(request, timeout=_SECONDS)
        except grpc.aio.AioRpcError as error:
            text = f"{method}: {error.code().name}: {error.details()}"
            if error.code() in _REFUSED:
                raise Refused(text) from error
            raise Away(text) from error
