"""Reconcile over gRPC: in what the exchange and the stored state differ, shown or repaired."""

from __future__ import annotations

import json
from typing import Any

from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb

from services.exec_risk.serving.views import Views
from services.trade.codec import time_to_pb


class ReconcileRpcs:
    """The part of the servicer that compares."""

    _views: Views
    _wait_seconds: float

    async def Reconcile(self, request: pb.ReconcileRequest, context: Any) -> pb.ReconcileResponse:
        """Have the leader read the exchange whole and compare; repair what differs when asked."""
        _, result = await self._views.ask_leader(
            request.request_id,
            "reconcile",
            {"apply": str(request.apply).lower()},
            wait_seconds=self._wait_seconds,
        )
        return pb.ReconcileResponse(
            differences=[pb.Difference(**row) for row in json.loads(result["differences"])],
            applied=result["applied"] == "true",
            time=time_to_pb(int(result["time"])),
        )
