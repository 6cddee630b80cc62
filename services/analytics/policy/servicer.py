"""GetPolicy, UpdatePolicy and TriggerRebalance over gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from quantum.analytics.v1 import analytics_service_pb2 as pb

from services.analytics.policy.changes import fields_of
from services.analytics.policy.facts import version_to_pb
from services.analytics.policy.store import PolicyStore
from services.kit.caller import subject_of
from services.kit.errors import InvalidArgument, Unavailable
from services.kit.postgres.db import TRANSIENT
from services.trade.codec import time_to_pb

OPERATOR = "operator"
"""Who changes the policy by a call that names nobody: it did not come through the gateway."""


class PolicyRpcs:
    """The part of the servicer that answers for the fund's policy."""

    _policies: PolicyStore
    _policy_changed: Callable[[], None]
    _ask_rebalance: Callable[[str, str, str], Awaitable[int]]

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Any) -> pb.GetPolicyResponse:
        """Return a version and, when asked, the history; NotFound for one that never was."""
        with database_errors():
            version = await self._policies.version(request.version)
            history = (
                await self._policies.history(request.history_size) if request.history_size else []
            )
        return pb.GetPolicyResponse(
            version=version_to_pb(version), history=[version_to_pb(v) for v in history]
        )

    async def UpdatePolicy(
        self, request: pb.UpdatePolicyRequest, context: Any
    ) -> pb.UpdatePolicyResponse:
        """Make a version; InvalidArgument names each field that breaks its rule."""
        changes = fields_of(request.change)
        if bool(changes) is bool(request.rollback_to):
            raise InvalidArgument.of("change", "give either fields to change or rollback_to")
        with database_errors():
            version = await self._policies.update(
                changes,
                by=subject_of(context, OPERATOR),
                reasons=(request.reason,),
                request_id=request.request_id,
                rollback_to=request.rollback_to,
            )
        self._policy_changed()
        return pb.UpdatePolicyResponse(version=version_to_pb(version))

    async def TriggerRebalance(
        self, request: pb.TriggerRebalanceRequest, context: Any
    ) -> pb.TriggerRebalanceResponse:
        """Have the next round balance the portfolio."""
        with database_errors():
            after = await self._ask_rebalance(
                request.account or "main", request.reason, request.request_id
            )
        return pb.TriggerRebalanceResponse(after=time_to_pb(after))


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn a lost database into UNAVAILABLE with its name."""
    try:
        yield
    except TRANSIENT as error:
        raise Unavailable(
            "postgres does not answer", metadata={"postgres": type(error).__name__}
        ) from error
