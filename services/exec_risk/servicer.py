"""The contract of exec_risk over gRPC."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb
from quantum.exec_risk.v1 import exec_risk_service_pb2_grpc as rpc
from quantum.exec_risk.v1 import trading_pb2

from services.catalog.processes import EXEC_RISK, VERSION
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.rules import RULES
from services.exec_risk.core.rules.fund import SHOWN
from services.exec_risk.counters import Counters
from services.exec_risk.messages.trade import shown
from services.exec_risk.serving.emergency import OPERATOR, EmergencyRpcs
from services.exec_risk.serving.orders import OrderRpcs
from services.exec_risk.serving.reconcile import ReconcileRpcs
from services.exec_risk.serving.stream_updates import UpdateRpcs
from services.exec_risk.serving.updates import Updates
from services.exec_risk.serving.views import Views
from services.kit.caller import subject_of
from services.kit.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from services.kit.process import Process
from services.trade.codec import (
    decimal_to_pb,
    enum_from_pb,
    enum_to_pb,
    order_to_pb,
    time_to_pb,
)
from services.trade.order import Side
from services.trade.position import TradingState
from services.trade.times import from_datetime

WAIT_SECONDS = 5.0
"""How long a caller waits for the leader's answer."""
LARGEST_USD = Decimal(10) ** 12


class ExecRiskServicer(
    OrderRpcs, EmergencyRpcs, ReconcileRpcs, UpdateRpcs, rpc.ExecRiskServiceServicer
):
    """Answers from PostgreSQL, so that every replica says the same; the leader does the rest."""

    def __init__(
        self,
        *,
        process: Process,
        views: Views,
        policy: Policy,
        counters: Counters,
        updates: Updates,
        leading: Callable[[], bool],
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._process = process
        self._views = views
        self._policy = policy
        self._counters = counters
        self._updates = updates
        self._leading = leading
        self._wait_seconds = wait_seconds

    async def GetHealth(self, request: pb.GetHealthRequest, context: Any) -> pb.GetHealthResponse:
        """Tell how the service is, also when it is not ready."""
        process = self._process
        reasons, status = list(process.reasons), process.status
        answer = pb.GetHealthResponse(
            service=EXEC_RISK.name,
            version=VERSION,
            build=process.settings.build_id,
            uptime_seconds=process.uptime_seconds,
            metrics=self._counters.since_start(),
            venue=self._policy.venue,
            leader=self._leading(),
            effective_leverage_cap=self._policy.leverage_cap(None),
            timestamp=time_to_pb(from_datetime(process.clock.now().replace(microsecond=0))),
        )
        try:
            leader, account = await self._views.leader(), await self._views.account()
        except Unavailable as error:
            answer.status, answer.entries_blocked_by = "critical", "postgres"
            answer.reasons.extend([*reasons, str(error)])
            return answer
        answer.binance_connected = leader.connected
        answer.entries_blocked_by = leader.blocked_by
        if account is not None:
            answer.open_positions = account.open_positions
            answer.daily_pnl = float(account.daily_pnl)
            answer.daily_trades = account.daily_trades
            answer.trading_state = account.state.value.lower()
            answer.in_sample = account.in_sample
            answer.emergency_latched = account.latched
            answer.safety_level = account.safety.value.lower()
        if not leader.connected:
            reasons.append("exchange: not connected" if leader.fresh else "leader: silent")
            status = "critical"
        answer.status = status
        answer.reasons.extend(reasons)
        return answer

    async def GetReadiness(
        self, request: pb.GetReadinessRequest, context: Any
    ) -> pb.GetReadinessResponse:
        """Answer when the service can do its work."""
        self._process.components.require_ready(EXEC_RISK.name)
        if self._process.draining:
            raise Unavailable(
                f"{EXEC_RISK.name} is draining",
                reason="NOT_READY",
                metadata={"rotation": "draining"},
            )
        return pb.GetReadinessResponse(status="ready")

    async def ListPositions(
        self, request: pb.ListPositionsRequest, context: Any
    ) -> pb.ListPositionsResponse:
        """Return positions, the newest first."""
        found, token = await self._views.positions(
            request.status, request.symbol, request.page_size, request.page_token
        )
        marks = await self._views.marks()
        positions = [shown(p, marks.get(p.symbol)) for p in found]
        return pb.ListPositionsResponse(positions=positions, next_page_token=token)

    async def ListOrders(
        self, request: pb.ListOrdersRequest, context: Any
    ) -> pb.ListOrdersResponse:
        """Return orders, the newest first."""
        found, token = await self._views.orders(
            request.open_only, request.symbol, request.page_size, request.page_token
        )
        return pb.ListOrdersResponse(orders=[order_to_pb(o) for o in found], next_page_token=token)

    async def GetAccount(
        self, request: pb.GetAccountRequest, context: Any
    ) -> pb.GetAccountResponse:
        """Return the money of the account."""
        account = await self._views.account()
        if account is None:
            raise Unavailable("the account was not read yet", reason="NOT_READY")
        equity = None if account.wallet is None else account.wallet + account.unrealized
        return pb.GetAccountResponse(
            account=trading_pb2.Account(
                account=self._policy.account,
                venue=self._policy.venue,
                wallet_balance=decimal_to_pb(account.wallet),
                unrealized_pnl=decimal_to_pb(account.unrealized),
                equity=decimal_to_pb(equity),
                available_balance=decimal_to_pb(account.available),
                gross_exposure=decimal_to_pb(account.exposure),
                daily_pnl=decimal_to_pb(account.daily_pnl),
                daily_trades=account.daily_trades,
                open_positions=account.open_positions,
                time=time_to_pb(account.time),
                trading_state=enum_to_pb(account.state),
                in_sample=account.in_sample,
                emergency_latched=account.latched,
                safety_level=enum_to_pb(account.safety),
            )
        )

    async def GetLimits(self, request: pb.GetLimitsRequest, context: Any) -> pb.GetLimitsResponse:
        """Return every rule with its limit, in the order in which they are asked."""
        fund = await self._views.fund_policy()
        return pb.GetLimitsResponse(
            limits=[
                pb.Limit(
                    rule=rule.name,
                    value=SHOWN[rule.name](fund)
                    if fund is not None and rule.name in SHOWN
                    else rule.limit(self._policy),
                    unit=rule.unit,
                    source=rule.source,
                )
                for rule in RULES
            ]
        )

    async def ValidateRisk(
        self, request: pb.ValidateRiskRequest, context: Any
    ) -> pb.ValidateRiskResponse:
        """Say what the rules would say of an entry now."""
        if Decimal(request.size_usd) > LARGEST_USD:
            raise InvalidArgument.of("size_usd", f"is at most {LARGEST_USD:f}")
        arguments = {
            "symbol": request.symbol,
            "side": enum_from_pb(Side, request.side).value,
            "size_usd": request.size_usd,
            "leverage": str(request.leverage),
        }
        _, result = await self._views.ask_leader(
            f"validate-{uuid.uuid4()}",
            "validate_entry",
            arguments,
            wait_seconds=self._wait_seconds,
        )
        return pb.ValidateRiskResponse(
            approved=result["approved"] == "true", rule=result["rule"], reason=result["reason"]
        )

    async def ClosePosition(
        self, request: pb.ClosePositionRequest, context: Any
    ) -> pb.ClosePositionResponse:
        """Close an open position at market."""
        ok, result = await self._views.ask_leader(
            request.request_id,
            "close_position",
            {"symbol": request.symbol},
            wait_seconds=self._wait_seconds,
        )
        if not ok:
            raise NotFound(result["reason"], reason="POSITION_NOT_FOUND")
        order = await self._views.order(result["client_order_id"])
        return pb.ClosePositionResponse(order=None if order is None else order_to_pb(order))

    async def SetTradingState(
        self, request: pb.SetTradingStateRequest, context: Any
    ) -> pb.SetTradingStateResponse:
        """Move the account's switch."""
        ok, result = await self._views.ask_leader(
            request.request_id,
            "set_trading_state",
            {
                "state": enum_from_pb(TradingState, request.state).value,
                "reason": request.reason,
                "changed_by": subject_of(context, OPERATOR),
            },
            wait_seconds=self._wait_seconds,
        )
        if not ok:
            raise FailedPrecondition(result["reason"], reason=result["code"])
        return pb.SetTradingStateResponse(
            previous_state=enum_to_pb(TradingState(result["previous"])),
            state=enum_to_pb(TradingState(result["state"])),
        )
