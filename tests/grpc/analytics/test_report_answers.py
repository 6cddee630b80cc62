"""Reports and single trades over a real server: answers, and errors that say what to do."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from quantum.analytics.v1 import analytics_service_pb2 as pb
from quantum.analytics.v1 import report_pb2

from services.trade.codec import time_from_pb
from services.trade.times import DAY_MS
from tests.grpc.analytics.conftest import Running

MAY = 1_746_057_600_000


async def test_a_report_holds_flows_groups_and_trades_of_its_span(served: Running) -> None:
    """Incident 85: what moved and what the trades were, each after costs, with its uncertainty."""
    request = report_pb2.GetReportRequest(period="week", trades=2)
    answer = await served.stub.GetReport(request, timeout=5)
    span = (time_from_pb(answer.since), time_from_pb(answer.until))
    assert span == (MAY - 6 * DAY_MS, MAY + DAY_MS)
    assert (answer.flows.net_pnl, answer.flows.fills) == ("28.95", 6)
    total = answer.total
    assert (total.trades, total.wins, total.net_pnl) == (3, 3, "30.45")
    assert total.win_rate == 1
    assert 0.4 < total.win_rate_low < total.win_rate_high == 1
    assert not total.HasField("profit_factor")
    assert total.slippage_usd == "4.5"
    assert [(g.name, g.trades) for g in answer.by_symbol] == [("BTCUSDT", 3)]
    assert [(g.name, g.net_pnl) for g in answer.by_model] == [("m1", "30.45")]
    assert [t.position_id for t in answer.trades] == ["pos-2", "pos-1"]
    assert not answer.measures.HasField("sharpe")
    assert [(a.type, a.count) for a in answer.alerts] == [("MARGIN", 2)]
    assert total.in_sample


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (report_pb2.GetReportRequest(period="week", since="2025-05-01"), "not both"),
        (report_pb2.GetReportRequest(since="yesterday"), "YYYY-MM-DD"),
        (report_pb2.GetReportRequest(since="2025-05-03", until="2025-05-01"), "before"),
    ],
)
async def test_a_span_that_means_nothing_is_refused(
    served: Running, request_: report_pb2.GetReportRequest, text: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.stub.GetReport(request_, timeout=5)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
    assert status is not None
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    assert text in bad.field_violations[0].description


async def test_one_trade_with_what_it_is_measured_by(served: Running) -> None:
    answer = await served.stub.GetTrade(report_pb2.GetTradeRequest(position_id="pos-1"), timeout=5)
    assert (answer.trade.position_id, answer.status) == ("pos-1", "closed")
    assert (answer.measures.slippage_usd, answer.measures.holding_seconds) == ("1.5", 60)
    assert not answer.measures.HasField("r")
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await served.stub.GetTrade(report_pb2.GetTradeRequest(position_id="pos-9"), timeout=5)
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND


async def test_performance_in_detail_is_of_the_days_that_were_asked(served: Running) -> None:
    asked = pb.GetPerformanceRequest(since_day="2025-05-01", until_day="2025-05-02", detailed=True)
    answer = await served.stub.GetPerformance(asked, timeout=5)
    assert [d.day for d in answer.days] == ["2025-05-02", "2025-05-01"]
    assert answer.trades.trades == 3
    assert [g.name for g in answer.by_model] == ["m1"]
    both = pb.GetPerformanceRequest(day="2025-05-01", since_day="2025-05-01")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.stub.GetPerformance(both, timeout=5)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
