"""SetServiceMode over gRPC."""

from __future__ import annotations

from typing import Any

from quantum.analytics.v1 import modes_pb2 as pb

from services.analytics.modes.service_modes import ServiceModes, Switch
from services.analytics.policy.servicer import OPERATOR
from services.kit.bus.bus import BusRefused
from services.kit.caller import subject_of
from services.kit.errors import InvalidArgument, Unavailable


class ModeRpcs:
    """The part of the servicer that drains services and puts them into maintenance."""

    _modes: ServiceModes

    async def SetServiceMode(self, request: pb.SetServiceModeRequest, context: Any) -> Any:
        """Change the mode of services; InvalidArgument when nothing is to change."""
        drain = request.drain if request.HasField("drain") else None
        maintenance = request.maintenance if request.HasField("maintenance") else None
        if drain is None and maintenance is None:
            raise InvalidArgument.of("drain", "say drain, maintenance or both")
        subject = subject_of(context, OPERATOR)
        switch = Switch(
            services=tuple(request.services),
            drain=drain,
            maintenance=maintenance,
            reason=request.reason,
            announcement=request.announcement,
            request_id=request.request_id,
            by=f"{request.by} ({subject})" if request.by else subject,
        )
        try:
            return pb.SetServiceModeResponse(modes=await self._modes.set(switch))
        except BusRefused as error:
            raise Unavailable("another change came first: ask again") from error
