"""Asks the running system through its gateway, as any other client would."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from quantum.ai.v1 import ai_service_pb2 as ai_pb
from quantum.ai.v1 import ai_service_pb2_grpc as ai_rpc
from quantum.ai.v1 import registry_pb2, signal_pb2
from quantum.analytics.v1 import alerts_pb2, learning_pb2, modes_pb2, report_pb2
from quantum.analytics.v1 import analytics_service_pb2 as analytics_pb
from quantum.analytics.v1 import analytics_service_pb2_grpc as analytics_rpc
from quantum.exec_risk.v1 import exec_risk_service_pb2 as exec_pb
from quantum.exec_risk.v1 import exec_risk_service_pb2_grpc as exec_rpc
from quantum.exec_risk.v1 import trading_pb2

from services.catalog.events import SIGNAL_GENERATED
from services.ctl.operator_trace import TracedChannel, operator_trace
from services.ctl.supervisor.home import Home, Refused, read_json
from services.ctl.token_channel import token_channel

ANSWER_SECONDS = 5.0
LOAD_SECONDS = 30.0
"""A replica that is busy takes its time to verify an artifact."""
REPORT_SECONDS = 60.0


class GatewayClient:
    """Typed questions over one channel."""

    def __init__(self, channel: grpc.aio.Channel | TracedChannel) -> None:
        """Use an open channel to the gateway."""
        on: Any = channel
        self._ai: Any = ai_rpc.AiServiceStub(on)
        self._exec_risk: Any = exec_rpc.ExecRiskServiceStub(on)
        self._analytics: Any = analytics_rpc.AnalyticsServiceStub(on)

    async def account(self) -> trading_pb2.Account:
        """Return the money of the account."""
        request = exec_pb.GetAccountRequest()
        answer: exec_pb.GetAccountResponse = await self._exec_risk.GetAccount(
            request, timeout=ANSWER_SECONDS
        )
        return answer.account

    async def positions(self, status: str = "", count: int = 50) -> list[trading_pb2.Position]:
        """Return positions, the newest first; `status` is `open`, `closed` or empty for both."""
        request = exec_pb.ListPositionsRequest(status=status, page_size=count)
        answer = await self._exec_risk.ListPositions(request, timeout=ANSWER_SECONDS)
        return list(answer.positions)

    async def orders(
        self, count: int = 50, *, open_only: bool = False, symbol: str = ""
    ) -> list[trading_pb2.Order]:
        """Return orders, the newest first."""
        request = exec_pb.ListOrdersRequest(page_size=count, open_only=open_only, symbol=symbol)
        answer = await self._exec_risk.ListOrders(request, timeout=ANSWER_SECONDS)
        return list(answer.orders)

    async def submit(
        self, request: exec_pb.SubmitExecutionRequest
    ) -> exec_pb.SubmitExecutionResponse:
        """Have a quantity executed."""
        answer: exec_pb.SubmitExecutionResponse = await self._exec_risk.SubmitExecution(
            request, timeout=ANSWER_SECONDS
        )
        return answer

    async def cancel(self, client_order_id: str, request_id: str) -> trading_pb2.Order:
        """Cancel an order, or all that is left of its execution."""
        request = exec_pb.CancelOrderRequest(client_order_id=client_order_id, request_id=request_id)
        answer: exec_pb.CancelOrderResponse = await self._exec_risk.CancelOrder(
            request, timeout=ANSWER_SECONDS
        )
        return answer.order

    async def emergency_stop(self, reason: str, request_id: str) -> exec_pb.EmergencyStopResponse:
        """Close everything and latch."""
        request = exec_pb.EmergencyStopRequest(reason=reason, request_id=request_id)
        answer: exec_pb.EmergencyStopResponse = await self._exec_risk.EmergencyStop(
            request, timeout=ANSWER_SECONDS
        )
        return answer

    async def reset_emergency(self, reason: str, request_id: str) -> exec_pb.ResetEmergencyResponse:
        """Release the latch."""
        request = exec_pb.ResetEmergencyRequest(reason=reason, request_id=request_id)
        answer: exec_pb.ResetEmergencyResponse = await self._exec_risk.ResetEmergency(
            request, timeout=ANSWER_SECONDS
        )
        return answer

    async def reconcile(self, apply: bool, request_id: str) -> exec_pb.ReconcileResponse:
        """Compare with the exchange, and repair when asked to."""
        request = exec_pb.ReconcileRequest(apply=apply, request_id=request_id)
        answer: exec_pb.ReconcileResponse = await self._exec_risk.Reconcile(
            request, timeout=ANSWER_SECONDS
        )
        return answer

    async def set_trading_state(
        self, state: str, reason: str, request_id: str
    ) -> exec_pb.SetTradingStateResponse:
        """Move the account's switch; `state` without its prefix."""
        request = exec_pb.SetTradingStateRequest(
            state=trading_pb2.TradingState.Value(f"TRADING_STATE_{state}"),
            reason=reason,
            request_id=request_id,
        )
        answer: exec_pb.SetTradingStateResponse = await self._exec_risk.SetTradingState(
            request, timeout=ANSWER_SECONDS
        )
        return answer

    async def predictions(self) -> list[signal_pb2.Prediction]:
        """Return the last prediction of each symbol."""
        request = ai_pb.GetPredictionsRequest()
        answer = await self._ai.GetPredictions(request, timeout=ANSWER_SECONDS)
        return list(answer.predictions)

    async def models(self) -> ai_pb.ListModelsResponse:
        """Return all model artifacts, the pointers, and the models that vote."""
        answer: ai_pb.ListModelsResponse = await self._ai.ListModels(
            ai_pb.ListModelsRequest(), timeout=ANSWER_SECONDS
        )
        return answer

    async def deploy_model(
        self,
        version: str,
        stage: registry_pb2.Stage.ValueType,
        reason: str,
        request_id: str,
        *,
        override_gate: bool = False,
    ) -> ai_pb.DeployModelResponse:
        """Put an artifact to a stage."""
        request = ai_pb.DeployModelRequest(
            version=version,
            stage=stage,
            reason=reason,
            request_id=request_id,
            override_gate=override_gate,
        )
        answer: ai_pb.DeployModelResponse = await self._ai.DeployModel(
            request, timeout=LOAD_SECONDS
        )
        return answer

    async def rollback_model(
        self, version: str, reason: str, request_id: str
    ) -> ai_pb.RollbackModelResponse:
        """Take the active artifact away."""
        request = ai_pb.RollbackModelRequest(version=version, reason=reason, request_id=request_id)
        answer: ai_pb.RollbackModelResponse = await self._ai.RollbackModel(
            request, timeout=LOAD_SECONDS
        )
        return answer

    async def opportunities(self, count: int = 0) -> ai_pb.GetTopOpportunitiesResponse:
        """Return the best symbols of the last scan; 0 for as many as it kept."""
        request = ai_pb.GetTopOpportunitiesRequest(top_n=count)
        answer: ai_pb.GetTopOpportunitiesResponse = await self._ai.GetTopOpportunities(
            request, timeout=ANSWER_SECONDS
        )
        return answer

    async def signals(self, count: int = 20) -> list[signal_pb2.Signal]:
        """Return the last signals that the ledger holds, the newest first."""
        request = analytics_pb.ListEventsRequest(type=SIGNAL_GENERATED, page_size=count)
        answer = await self._analytics.ListEvents(request, timeout=ANSWER_SECONDS)
        return [
            ParseDict(MessageToDict(event.data), signal_pb2.Signal()) for event in answer.events
        ]

    async def model_results(self, window: str) -> learning_pb2.GetModelPerformanceResponse:
        """Return what came of the models' predictions within 24h, 7d or 30d."""
        request = learning_pb2.GetModelPerformanceRequest(window=window)
        answer: learning_pb2.GetModelPerformanceResponse = (
            await self._analytics.GetModelPerformance(request, timeout=ANSWER_SECONDS)
        )
        return answer

    async def retrain(self, reason: str, request_id: str) -> learning_pb2.TriggerRetrainingResponse:
        """Ask for a training."""
        request = learning_pb2.TriggerRetrainingRequest(reason=reason, request_id=request_id)
        answer: learning_pb2.TriggerRetrainingResponse = await self._analytics.TriggerRetraining(
            request, timeout=ANSWER_SECONDS
        )
        return answer

    async def policy(self, version: int = 0, history: int = 0) -> analytics_pb.GetPolicyResponse:
        """Return a version of the fund's policy, the newest for 0, and the history."""
        request = analytics_pb.GetPolicyRequest(version=version, history_size=history)
        answer: analytics_pb.GetPolicyResponse = await self._analytics.GetPolicy(
            request, timeout=ANSWER_SECONDS
        )
        return answer

    async def update_policy(
        self, request: analytics_pb.UpdatePolicyRequest
    ) -> analytics_pb.UpdatePolicyResponse:
        """Make a version of the fund's policy."""
        answer: analytics_pb.UpdatePolicyResponse = await self._analytics.UpdatePolicy(
            request, timeout=ANSWER_SECONDS
        )
        return answer

    async def set_service_mode(
        self, request: modes_pb2.SetServiceModeRequest
    ) -> modes_pb2.SetServiceModeResponse:
        """Drain services or put them into maintenance, or end it."""
        answer: modes_pb2.SetServiceModeResponse = await self._analytics.SetServiceMode(
            request, timeout=ANSWER_SECONDS
        )
        return answer

    async def rebalance(
        self, reason: str, request_id: str
    ) -> analytics_pb.TriggerRebalanceResponse:
        """Have the next round balance the portfolio."""
        request = analytics_pb.TriggerRebalanceRequest(reason=reason, request_id=request_id)
        answer: analytics_pb.TriggerRebalanceResponse = await self._analytics.TriggerRebalance(
            request, timeout=ANSWER_SECONDS
        )
        return answer

    async def performance(self, day: str = "") -> analytics_pb.GetPerformanceResponse:
        """Return profit by UTC day and in all; of one day when it is given."""
        request = analytics_pb.GetPerformanceRequest(day=day)
        answer: analytics_pb.GetPerformanceResponse = await self._analytics.GetPerformance(
            request, timeout=ANSWER_SECONDS
        )
        return answer

    async def report(self, request: report_pb2.GetReportRequest) -> report_pb2.GetReportResponse:
        """Return what a span brought; a long span takes its time."""
        answer: report_pb2.GetReportResponse = await self._analytics.GetReport(
            request, timeout=REPORT_SECONDS
        )
        return answer

    async def trade(self, position_id: str) -> analytics_pb.GetTradeResponse:
        """Return one trade, whole."""
        request = report_pb2.GetTradeRequest(position_id=position_id)
        answer: analytics_pb.GetTradeResponse = await self._analytics.GetTrade(
            request, timeout=ANSWER_SECONDS
        )
        return answer

    async def system_health(self) -> analytics_pb.GetSystemHealthResponse:
        """Return how every replica and part is."""
        request = analytics_pb.GetSystemHealthRequest()
        answer: analytics_pb.GetSystemHealthResponse = await self._analytics.GetSystemHealth(
            request, timeout=ANSWER_SECONDS
        )
        return answer

    async def alerts(
        self, *, resolved: bool = False, severity: str = "", begins: str = "", count: int = 50
    ) -> list[alerts_pb2.StoredAlert]:
        """Return alerts, the newest first."""
        request = alerts_pb2.ListAlertsRequest(
            include_resolved=resolved, severity=severity, alert_id=begins, page_size=count
        )
        answer = await self._analytics.ListAlerts(request, timeout=ANSWER_SECONDS)
        return list(answer.alerts)

    async def acknowledge(self, alert_id: str, by: str, note: str) -> alerts_pb2.StoredAlert:
        """Take an alert."""
        request = alerts_pb2.AcknowledgeAlertRequest(alert_id=alert_id, by=by, note=note)
        answer: alerts_pb2.AcknowledgeAlertResponse = await self._analytics.AcknowledgeAlert(
            request, timeout=ANSWER_SECONDS
        )
        return answer.alert


@contextlib.asynccontextmanager
async def connected(home: Home) -> AsyncIterator[GatewayClient]:
    """Open the gateway of a home; an error of a call becomes one line that says what to do."""
    ports = read_json(home.endpoints_file).get("ports", {})
    if "ingress" not in ports:
        raise Refused(f"nothing runs in {home.root}: start it with `qt up`")
    address = f"127.0.0.1:{ports['ingress']}"
    async with token_channel(home, address) as channel:
        try:
            with operator_trace(home) as telemetry:
                yield GatewayClient(TracedChannel(channel, telemetry))
        except grpc.aio.AioRpcError as error:
            raise Refused(
                f"the gateway at {address} answered {error.code().name}: {error.details()};"
                " `qt ps` shows how the processes are"
            ) from error


def as_json(message: Message) -> dict[str, Any]:
    """Return the message as REST would give it: the proto's own names, defaults written out."""
    found: dict[str, Any] = MessageToDict(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    return found


def word(message: Message, field: str) -> str:
    """Return the name of an enum field's value without its prefix, for example `BUY`."""
    described = message.DESCRIPTOR.fields_by_name[field].enum_type
    if described is None:
        raise TypeError(f"{message.DESCRIPTOR.full_name}.{field} is not an enum")
    name = str(described.values_by_number[getattr(message, field)].name)
    prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in described.name).lstrip("_")
    return name.removeprefix(f"{prefix}_")
