"""AnalyticsService over a real server with all interceptors, without PostgreSQL and NATS."""

from __future__ import annotations

import asyncio
from datetime import UTC, date
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status
from quantum.analytics.v1 import analytics_service_pb2 as pb
from quantum.ops.v1 import operations_service_pb2 as ops

from services.analytics.health.watch import HealthWatch
from services.catalog.processes import AI, ANALYTICS, EXEC_RISK
from services.kit.bus.message import Message
from tests.grpc.analytics.conftest import NOON, Running


def heartbeat(watch: HealthWatch, service: str) -> None:
    """Let a service be heard."""
    beat = ops.ServiceHeartbeat(service_name=service, instance=f"{service}-1", status="HEALTHY")
    beat.time.GetCurrentTime()
    watch.sight.book.hear(
        Message("quantum.live.service.heartbeat.x", beat.SerializeToString(), {}, 1)
    )


async def test_health_has_every_field_of_the_guide(served: Running) -> None:
    """Incident 67: portfolio_state is filled."""
    heartbeat(served.watch, AI.name)
    answer = await served.stub.GetHealth(pb.GetHealthRequest(), timeout=5)
    assert (answer.status, answer.service) == ("healthy", "analytics-os-service")
    assert (answer.version, answer.build) == ("3.1.0", "abc123")
    assert dict(answer.service_health) == {
        "ai_service": "healthy",
        "exec_risk_service": "down",
        "analytics_os_service": "healthy",
        "postgres": "healthy",
    }
    assert answer.portfolio_state.total_value_usd == 1001.0
    assert answer.portfolio_state.positions_count == 1
    assert answer.learning_state.samples_collected == 12
    assert [(a.type, a.component) for a in answer.alerts] == [
        ("DeadLetter", "ledger"),
        ("ServiceDown", EXEC_RISK.name),
    ]
    assert not (answer.ai_hfos_enabled or answer.pba_enabled or answer.clm_enabled)
    assert answer.HasField("timestamp") and answer.HasField("metrics")


async def test_health_answers_and_tells_why_while_a_part_is_gone(served: Running) -> None:
    """Incident 108: each flag flips under a fault, and back."""
    assert (await served.stub.GetReadiness(pb.GetReadinessRequest(), timeout=5)).status == "ready"
    assert (await served.stub.GetHealth(pb.GetHealthRequest(), timeout=5)).status == "healthy"
    served.process.components.set("postgres", False, "does not answer")
    sick = await served.stub.GetHealth(pb.GetHealthRequest(), timeout=5)
    assert sick.status == "critical"
    assert list(sick.reasons) == ["postgres: does not answer"]
    assert sick.service_health["analytics_os_service"] == "critical"
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await served.stub.GetReadiness(pb.GetReadinessRequest(), timeout=5)
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    assert details(failure.value, error_details_pb2.ErrorInfo).metadata == {
        "postgres": "does not answer",
        "migrations": "ready",
    }
    served.process.components.set("postgres", True)
    assert (await served.stub.GetHealth(pb.GetHealthRequest(), timeout=5)).status == "healthy"


async def test_a_draining_replica_is_not_ready(served: Running) -> None:
    served.process.drain(True)
    with pytest.raises(grpc.aio.AioRpcError, match="is draining"):
        await served.stub.GetReadiness(pb.GetReadinessRequest(), timeout=5)


async def test_system_health_names_replicas_parts_and_the_missing(served: Running) -> None:
    heartbeat(served.watch, AI.name)
    served.process.components.set("nats", False, "not connected")
    answer = await served.stub.GetSystemHealth(pb.GetSystemHealthRequest(), timeout=5)
    shown = {s.name: s for s in answer.services}
    assert shown[AI.name].instance == "ai-service-1"
    assert shown[EXEC_RISK.name].status == "down"
    assert shown[EXEC_RISK.name].last_heartbeat_seconds_ago == -1
    assert (shown["nats"].status, shown["nats"].reason) == ("down", "not connected")
    assert shown["postgres"].status == "healthy"
    assert set(answer.degraded_services) == {EXEC_RISK.name, ANALYTICS.name, "nats"}
    assert answer.overall_status == "down"


async def test_grpc_health_answers_for_the_other_services(served: Running) -> None:
    """The gateway sends the health of every service name to analytics."""
    look = asyncio.create_task(served.watch.run())
    try:
        heartbeat(served.watch, AI.name)

        async def statuses() -> bool:
            found = [
                (await served.health.Check(health_pb2.HealthCheckRequest(service=name))).status
                for name in ("", AI.grpc_service, EXEC_RISK.grpc_service)
            ]
            serving = health_pb2.HealthCheckResponse.SERVING
            return found == [serving, serving, health_pb2.HealthCheckResponse.NOT_SERVING]

        for _ in range(40):
            if await statuses():
                break
            await asyncio.sleep(0.05)
        assert await statuses()
    finally:
        look.cancel()
        await asyncio.gather(look, return_exceptions=True)


async def test_portfolio_is_decimal_text(served: Running) -> None:
    answer = await served.stub.GetPortfolio(pb.GetPortfolioRequest(), timeout=5)
    assert (answer.wallet_balance, answer.unrealized_pnl) == ("1000.5", "0.5")
    assert answer.total_value_usd == "1001"
    assert answer.in_sample
    (position,) = answer.positions
    assert (position.side, position.quantity, position.entry_price) == ("SHORT", "2", "100.25")
    assert position.mark_price == "100"


async def test_performance_by_day_and_in_all(served: Running) -> None:
    """Incidents 92, 93: results by UTC day, with commission and funding."""
    answer = await served.stub.GetPerformance(pb.GetPerformanceRequest(day="2025-05-01"), timeout=5)
    assert served.views.asked_days == (date(2025, 5, 1), date(2025, 5, 1))
    assert [d.net_pnl for d in answer.days] == ["2", "-1.25"]
    total = answer.total
    assert (total.day, total.net_pnl, total.trades, total.wins) == ("total", "0.75", 3, 1)
    assert total.in_sample and total.win_rate == pytest.approx(1 / 3)


async def test_trades_come_in_pages(served: Running) -> None:
    request = pb.ListTradesRequest(page_size=2)
    first = await served.stub.ListTrades(request, timeout=5)
    assert [t.position_id for t in first.trades] == ["pos-0", "pos-1"]
    request.page_token = first.next_page_token
    second = await served.stub.ListTrades(request, timeout=5)
    assert [t.position_id for t in second.trades] == ["pos-2"]
    assert second.next_page_token == ""
    (trade,) = second.trades
    assert (trade.gross_pnl, trade.net_pnl, trade.side) == ("10.5", "10.15", "SHORT")
    assert (trade.exit_reason, trade.trace_id) == ("TAKE_PROFIT", "ab" * 16)


async def test_events_carry_their_message(served: Running) -> None:
    answer = await served.stub.ListEvents(pb.ListEventsRequest(type="order.changed"), timeout=5)
    (event,) = answer.events
    assert event.event_id == "id-1"
    assert MessageToDict(event.data)["order"]["side"] == "SIDE_BUY"
    assert event.timestamp.ToDatetime(UTC) == NOON


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.ListTradesRequest(page_token="nonsense"), "page_token"),
        (pb.ListTradesRequest(day="2025-02-30"), "day"),
        (pb.ListTradesRequest(day="yesterday"), "day"),
        (pb.ListTradesRequest(page_size=1001), "page_size"),
        (pb.ListTradesRequest(page_size=-1), "page_size"),
    ],
)
async def test_a_wrong_question_names_the_field(
    served: Running, request_: pb.ListTradesRequest, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await served.stub.ListTrades(request_, timeout=5)
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    told = details(failure.value, error_details_pb2.BadRequest)
    assert [v.field for v in told.field_violations] == [field]


async def test_an_unknown_event_type_is_a_wrong_question(served: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await served.stub.ListEvents(pb.ListEventsRequest(type="market.tick"), timeout=5)
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_token_of_another_list_is_refused(served: Running) -> None:
    first = await served.stub.ListTrades(pb.ListTradesRequest(page_size=1), timeout=5)
    with pytest.raises(grpc.aio.AioRpcError, match="another selection"):
        await served.stub.ListEvents(
            pb.ListEventsRequest(page_token=first.next_page_token), timeout=5
        )


async def test_a_lost_database_is_unavailable_and_health_keeps_the_last_numbers(
    served: Running,
) -> None:
    await served.stub.GetHealth(pb.GetHealthRequest(), timeout=5)
    served.views.failure = ConnectionRefusedError("gone")
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await served.stub.GetPortfolio(pb.GetPortfolioRequest(), timeout=5)
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    answer = await served.stub.GetHealth(pb.GetHealthRequest(), timeout=5)
    assert answer.portfolio_state.total_value_usd == 1001.0


async def test_the_guides_metrics_exist(served: Running) -> None:
    names = {m.name for m in served.process.metrics.registry.collect()}
    for name in (
        "uptime_seconds",
        "events_received",
        "events_published",
        "health_checks",
        "rpc_calls_received",
        "portfolio_value_usd",
        "positions_count",
        "learning_samples_collected",
        "errors",
        "sink_lag_seconds",
    ):
        assert f"analytics_os_service_{name}" in names


def details(error: Any, kind: Any) -> Any:
    """The error's detail of one kind."""
    status = rpc_status.from_call(error)
    assert status is not None
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            found = kind()
            packed.Unpack(found)
            return found
    raise AssertionError(f"no {kind.__name__} in {status}")
