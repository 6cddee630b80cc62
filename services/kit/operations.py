"""OperationsService: what every process answers to its operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from quantum.ops.v1 import operations_service_pb2 as pb
from quantum.ops.v1 import operations_service_pb2_grpc as rpc

from services.catalog.processes import VERSION
from services.kit.observe import logs

if TYPE_CHECKING:
    from services.kit.process import Process

Context = grpc.aio.ServicerContext[Any, Any]


class OperationsServicer(rpc.OperationsServiceServicer):
    """Answers for one replica."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def GetStatus(
        self, request: pb.GetStatusRequest, context: Context
    ) -> pb.GetStatusResponse:
        """Tell what this replica is and how far its work has come."""
        process = self._process
        return pb.GetStatusResponse(
            service=process.names.name,
            instance=process.instance,
            version=VERSION,
            build=process.settings.build_id,
            uptime_seconds=process.uptime_seconds,
            draining=process.draining,
            maintenance=process.maintenance,
            components=[
                pb.Component(name=c.name, ready=c.ready, reason=c.reason)
                for c in process.components.snapshot()
            ],
            progress=process.progress,
        )

    async def Drain(self, request: pb.DrainRequest, context: Context) -> pb.DrainResponse:
        """Leave rotation, or return into it."""
        self._process.drain(request.enabled)
        return pb.DrainResponse(draining=self._process.draining)

    async def SetMaintenance(
        self, request: pb.SetMaintenanceRequest, context: Context
    ) -> pb.SetMaintenanceResponse:
        """Enter or leave maintenance."""
        self._process.set_maintenance(request.enabled)
        return pb.SetMaintenanceResponse(maintenance=self._process.maintenance)

    async def SetLogLevel(
        self, request: pb.SetLogLevelRequest, context: Context
    ) -> pb.SetLogLevelResponse:
        """Change the log level."""
        logs.set_level(request.level)
        return pb.SetLogLevelResponse(level=request.level)
