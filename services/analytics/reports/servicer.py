"""Reports and single trades: decode, ask, encode."""

from __future__ import annotations

from quantum.analytics.v1 import analytics_service_pb2 as pb
from quantum.analytics.v1 import report_pb2

from services.analytics.core.spans import Span, span_of
from services.analytics.replies import trade
from services.analytics.reports import replies
from services.analytics.reports.views import ReportViews
from services.kit.clock import Clock
from services.kit.errors import InvalidArgument, NotFound

_DEFAULT_TRADES = 50


class ReportDesk:
    """Answers what is asked about spans and trades."""

    def __init__(self, views: ReportViews, clock: Clock) -> None:
        self._views = views
        self._clock = clock

    async def report(self, request: report_pb2.GetReportRequest) -> report_pb2.GetReportResponse:
        """Return what a span brought."""
        span = await self.span(request.period, request.since, request.until)
        found = await self._views.report(span)
        around = await self._views.surroundings(span)
        return replies.report(found, around, request.trades or _DEFAULT_TRADES)

    async def detail(self, answer: pb.GetPerformanceResponse, span: Span) -> None:
        """Add to the results by day what the trades of these days were."""
        found = await self._views.report(span)
        answer.trades.CopyFrom(replies.group(found.total))
        answer.by_symbol.extend(map(replies.group, found.by_symbol))
        answer.by_model.extend(map(replies.group, found.by_model))
        answer.measures.CopyFrom(replies.measures(found.measures))

    async def trade(self, request: report_pb2.GetTradeRequest) -> pb.GetTradeResponse:
        """Return one trade, whole."""
        found = await self._views.trade(request.position_id)
        if found is None:
            raise NotFound(
                f"no trade {request.position_id}",
                reason="TRADE_NOT_FOUND",
                metadata={"position_id": request.position_id},
            )
        truth, fills = found
        return pb.GetTradeResponse(
            trade=trade(truth.trade),
            measures=replies.trade_measures(truth),
            fills=[replies.fill(booked, realized) for booked, realized in fills],
            status=truth.trade.status.value,
        )

    async def span(self, period: str, since: str, until: str) -> Span:
        """Return the span that is meant; InvalidArgument says what is wrong with it."""
        newest = await self._views.newest()
        now = newest or int(self._clock.now().timestamp() * 1000)
        try:
            return span_of(period, since, until, now)
        except ValueError as error:
            raise InvalidArgument.of("since", str(error)) from error
