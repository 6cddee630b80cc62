"""StreamUpdates over gRPC: any replica tells what happens, as the bus has it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb

from services.exec_risk.serving.updates import Updates
from services.kit.errors import Unavailable
from services.kit.process import Process


class UpdateRpcs:
    """The part of the servicer that tells events as they happen."""

    _process: Process
    _updates: Updates

    async def StreamUpdates(
        self, request: pb.StreamUpdatesRequest, context: Any
    ) -> AsyncIterator[pb.StreamUpdatesResponse]:
        """Send orders, fills, positions and alerts from now on; headers tell that it has begun.

        ResourceExhausted ends a caller that reads too slowly, Unavailable every one at a drain.
        """
        if self._process.draining:
            raise Unavailable("this replica leaves rotation; ask again", reason="DRAINING")
        with self._updates.listener(request.symbol) as listener:
            await context.send_initial_metadata(())
            async for update in listener.updates():
                yield update
