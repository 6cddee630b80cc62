"""AnalyticsService: decode, ask, encode."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from quantum.analytics.v1 import analytics_service_pb2 as pb
from quantum.analytics.v1 import analytics_service_pb2_grpc as rpc
from quantum.analytics.v1 import report_pb2

from services.analytics import replies
from services.analytics.alerts.servicer import AlertRpcs
from services.analytics.alerts.store import AlertStore
from services.analytics.core.performance import total
from services.analytics.health.watch import HealthWatch
from services.analytics.learning.servicer import LearningRpcs, learning_state
from services.analytics.learning.views import LearningViews
from services.analytics.modes.service_modes import ServiceModes
from services.analytics.modes.servicer import ModeRpcs
from services.analytics.policy.servicer import PolicyRpcs, database_errors
from services.analytics.policy.store import PolicyStore
from services.analytics.reports.servicer import ReportDesk
from services.analytics.settings import AnalyticsSettings
from services.analytics.views import BadToken, Cursor, Views, read_token
from services.catalog.events import MESSAGES
from services.catalog.processes import SERVICES, VERSION
from services.kit.errors import InvalidArgument, Unavailable
from services.kit.process import Process

Context = grpc.aio.ServicerContext[Any, Any]

_DEFAULT_PAGE = 50


class AnalyticsServicer(
    AlertRpcs, LearningRpcs, ModeRpcs, PolicyRpcs, rpc.AnalyticsServiceServicer
):
    """Answers from PostgreSQL and from this replica's view of the system's health."""

    def __init__(
        self,
        *,
        process: Process,
        settings: AnalyticsSettings,
        views: Views,
        watch: HealthWatch,
        reports: ReportDesk,
        policies: PolicyStore,
        policy_changed: Callable[[], None],
        ask_rebalance: Callable[[str, str, str], Awaitable[int]],
        learning: LearningViews,
        alerts: AlertStore,
        modes: ServiceModes,
    ) -> None:
        self._modes = modes
        self._learning = learning
        self._policies = policies
        self._policy_changed = policy_changed
        self._ask_rebalance = ask_rebalance
        self._process = process
        self._settings = settings
        self._views = views
        self._watch = watch
        self._reports = reports
        self._alerts = alerts

    async def GetHealth(
        self, request: pb.GetHealthRequest, context: Context
    ) -> pb.GetHealthResponse:
        """Tell how the service is; it answers also when it is not ready."""
        await self._watch.recent()
        view = self._watch.view()
        keys = {s.name: s.health_key for s in SERVICES}
        return pb.GetHealthResponse(
            status=self._watch.status(),
            service=self._process.names.name,
            version=VERSION,
            build=self._process.settings.build_id,
            uptime_seconds=self._process.uptime_seconds,
            ai_hfos_enabled=self._settings.hfos_enabled,
            pba_enabled=self._settings.pba_enabled,
            pal_enabled=self._settings.pal_enabled,
            clm_enabled=self._settings.clm_enabled,
            service_health={keys[s.name]: s.status.text for s in view.services if s.name in keys}
            | {part.name: part.status.text for part in view.parts},
            portfolio_state=pb.PortfolioState(
                total_value_usd=float(self._watch.portfolio.total_value),
                positions_count=len(self._watch.portfolio.positions),
            ),
            learning_state=learning_state(self._watch.learning, self._watch.samples),
            metrics=pb.HealthMetrics(
                health_checks=self._watch.checks,
                events_recorded=sum(sink.recorded for sink in self._watch.sight.sinks),
                auto_restarts=self._watch.auto_restarts,
                retrainings_triggered=self._watch.learning.state.triggered,
            ),
            alerts=replies.alerts(self._watch.current_alerts(view), self._watch.stored),
            timestamp=self._now(),
            reasons=self._process.reasons,
        )

    async def GetReadiness(
        self, request: pb.GetReadinessRequest, context: Context
    ) -> pb.GetReadinessResponse:
        """Answer when ready, else Unavailable with every part."""
        self._process.components.require_ready(self._process.names.name)
        if self._process.draining:
            raise Unavailable(
                f"{self._process.names.name} is draining",
                reason="NOT_READY",
                metadata={"rotation": "draining"},
            )
        return pb.GetReadinessResponse(status="ready")

    async def GetSystemHealth(
        self, request: pb.GetSystemHealthRequest, context: Context
    ) -> pb.GetSystemHealthResponse:
        """Tell how every service and backing part is."""
        return replies.system_health(self._watch.view(), self._now())

    async def GetPortfolio(
        self, request: pb.GetPortfolioRequest, context: Context
    ) -> pb.GetPortfolioResponse:
        """Return value and open positions."""
        with database_errors():
            return replies.portfolio(await self._views.portfolio())

    async def GetPerformance(
        self, request: pb.GetPerformanceRequest, context: Context
    ) -> pb.GetPerformanceResponse:
        """Return results by UTC day and in all; detailed, what the days' trades were."""
        if request.day and (request.since_day or request.until_day):
            raise InvalidArgument.of("day", "give a day, or the first and the last one, not both")
        first, last = (_day(request.day or text) for text in (request.since_day, request.until_day))
        with database_errors():
            days = await self._views.results(first, last)
            answer = pb.GetPerformanceResponse(
                days=[replies.performance(d) for d in days],
                total=replies.performance(total(days)),
            )
            if request.detailed and days:
                span = await self._reports.span("", days[-1].day, days[0].day)
                await self._reports.detail(answer, span)
        return answer

    async def GetReport(
        self, request: report_pb2.GetReportRequest, context: Context
    ) -> report_pb2.GetReportResponse:
        """Return what a span of market time brought."""
        with database_errors():
            return await self._reports.report(request)

    async def GetTrade(
        self, request: report_pb2.GetTradeRequest, context: Context
    ) -> pb.GetTradeResponse:
        """Return one trade with its fills."""
        with database_errors():
            return await self._reports.trade(request)

    async def ListTrades(
        self, request: pb.ListTradesRequest, context: Context
    ) -> pb.ListTradesResponse:
        """Return closed trades, the newest first."""
        question = ("trades", request.symbol, request.day)
        with database_errors():
            trades, more = await self._views.trades(
                symbol=request.symbol,
                day=_day(request.day),
                cursor=_cursor(request.page_token, question),
                limit=request.page_size or _DEFAULT_PAGE,
            )
        return pb.ListTradesResponse(
            trades=[replies.trade(t) for t in trades],
            next_page_token=more.token(question) if more else "",
        )

    async def ListEvents(
        self, request: pb.ListEventsRequest, context: Context
    ) -> pb.ListEventsResponse:
        """Return recorded events, the newest first."""
        if request.type and request.type not in MESSAGES:
            raise InvalidArgument.of("type", f"{request.type!r} is none of {sorted(MESSAGES)}")
        question = ("events", request.type, request.trace_id)
        with database_errors():
            events, more = await self._views.events(
                event_type=request.type,
                trace_id=request.trace_id,
                cursor=_cursor(request.page_token, question),
                limit=request.page_size or _DEFAULT_PAGE,
            )
        return pb.ListEventsResponse(
            events=[replies.event(e) for e in events],
            next_page_token=more.token(question) if more else "",
        )

    def _now(self) -> Timestamp:
        return replies.moment(self._process.clock.now())


def _day(text: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgument.of("day", f"{text} is not a day of the calendar") from error


def _cursor(token: str, question: tuple[str, ...]) -> Cursor:
    try:
        return read_token(token, question)
    except BadToken as error:
        raise InvalidArgument.of("page_token", str(error)) from error
