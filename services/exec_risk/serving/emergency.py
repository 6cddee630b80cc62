"""EmergencyStop and ResetEmergency over gRPC: the leader does them, its answer is told."""

from __future__ import annotations

from typing import Any

from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb

from services.exec_risk.serving.views import Views
from services.kit.caller import subject_of
from services.kit.errors import FailedPrecondition
from services.trade.codec import enum_to_pb
from services.trade.position import TradingState

OPERATOR = "operator"
"""Who asks in a call that names nobody: it did not come through the gateway."""


class EmergencyRpcs:
    """The part of the servicer that stops everything and releases it."""

    _views: Views
    _wait_seconds: float

    async def EmergencyStop(
        self, request: pb.EmergencyStopRequest, context: Any
    ) -> pb.EmergencyStopResponse:
        """Close every position, cancel every entry and latch."""
        _, result = await self._views.ask_leader(
            request.request_id,
            "emergency_stop",
            {"reason": request.reason, "by": subject_of(context, OPERATOR)},
            wait_seconds=self._wait_seconds,
        )
        return pb.EmergencyStopResponse(
            latched=result["latched"] == "true",
            positions_closing=int(result["positions_closing"]),
            orders_cancelling=int(result["orders_cancelling"]),
        )

    async def ResetEmergency(
        self, request: pb.ResetEmergencyRequest, context: Any
    ) -> pb.ResetEmergencyResponse:
        """Release the latch; the account stays HALTED. FailedPrecondition names why it cannot."""
        ok, result = await self._views.ask_leader(
            request.request_id,
            "reset_emergency",
            {"reason": request.reason, "by": subject_of(context, OPERATOR)},
            wait_seconds=self._wait_seconds,
        )
        if not ok:
            raise FailedPrecondition(result["reason"], reason=result["code"])
        return pb.ResetEmergencyResponse(state=enum_to_pb(TradingState(result["state"])))
