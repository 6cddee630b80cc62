"""AnalyticsService over a real server, its numbers from a stub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import grpc
import pytest_asyncio
from grpc_health.v1 import health_pb2_grpc
from quantum.analytics.v1 import analytics_service_pb2_grpc as rpc

from services.analytics.core.alerts import LedgerState
from services.analytics.core.ledger import BookedFill
from services.analytics.core.performance import Result
from services.analytics.core.portfolio import Portfolio, ValuedPosition
from services.analytics.core.report import Flows, Report, make
from services.analytics.core.spans import Span
from services.analytics.core.trades import Trade, TradeStatus
from services.analytics.core.truth import TradeTruth
from services.analytics.fund.rebalance_requests import RebalanceRequests
from services.analytics.health.supervision import supervise
from services.analytics.health.watch import HealthWatch
from services.analytics.learning.progress import Progress
from services.analytics.learning.views import LearningViews
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.policy.store import PolicyStore
from services.analytics.reports.servicer import ReportDesk
from services.analytics.reports.views import Checks, ReportViews, Surroundings
from services.analytics.servicer import AnalyticsServicer
from services.analytics.settings import AnalyticsSettings
from services.analytics.views import Cursor, RecordedEvent, Views
from services.catalog.processes import ANALYTICS
from services.kit.clock import SystemClock
from services.kit.postgres.db import Database
from services.kit.process import Process
from services.kit.server import Servicers
from services.trade.position import ExitReason, Position, PositionSide

QUICK = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.min_reconnect_backoff_ms", 20)]
NOON = datetime(2025, 5, 1, 12, tzinfo=UTC)

POSITION = Position(
    position_id="pos-1",
    account="main",
    symbol="BTCUSDT",
    side=PositionSide.SHORT,
    opened_time=1_746_100_800_000,
    leverage=3,
    signal_id="sig-1",
    trace_id="ab" * 16,
    entry_model="m1",
    in_sample=True,
    entry_quantity=Decimal("2.000"),
    entry_cost=Decimal("200.50"),
)


def closed(number: int) -> Trade:
    """A closed trade."""
    position = replace(
        POSITION,
        position_id=f"pos-{number}",
        exit_quantity=Decimal(2),
        exit_cost=Decimal(190),
        commission=Decimal("0.1"),
        funding=Decimal("-0.25"),
        closed_time=1_746_100_860_000,
        exit_reason=ExitReason.TAKE_PROFIT,
    )
    return Trade(position, TradeStatus.CLOSED, 4, Decimal("10.15"))


class StubViews(Views):
    """Views that hold three trades and three events."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.failure: Exception | None = None
        self.asked_days: tuple[date | None, date | None] = (None, None)

    async def portfolio(self) -> Portfolio:
        if self.failure:
            raise self.failure
        valued = ValuedPosition(POSITION, Decimal(100))
        return Portfolio(Decimal("1000.50"), (valued,), 1_746_100_800_000, in_sample=True)

    async def samples(self) -> int:
        return 12

    async def learning(self) -> Progress:
        return Progress()

    async def ledger_state(self) -> LedgerState:
        return LedgerState(rejected_last_hour=1, last_rejection="unknown event type 'x'")

    async def results(self, first: date | None = None, last: date | None = None) -> list[Result]:
        self.asked_days = (first, last)
        return [
            Result("2025-05-02", Decimal(3), Decimal(1), Decimal(0), 2, 1, True),
            Result("2025-05-01", Decimal("-1"), Decimal("0.5"), Decimal("0.25"), 1, 0, False),
        ]

    async def trades(
        self, *, symbol: str, day: date | None, cursor: Cursor, limit: int
    ) -> tuple[list[Trade], Cursor | None]:
        first = int(cursor.last_id or 0)
        page = [closed(n) for n in range(first, min(first + limit, 3))]
        more = first + limit < 3
        return page, Cursor(NOON, str(first + limit)) if more else None

    async def events(
        self, *, event_type: str, trace_id: str, cursor: Cursor, limit: int
    ) -> tuple[list[RecordedEvent], Cursor | None]:
        data = {"order": {"side": "SIDE_BUY", "version": 1, "tags": ["a"]}, "note": None}
        found = RecordedEvent("id-1", "order.changed", NOON, "exec-risk-service", "t", "main", data)
        return [found], None


class StubReports(ReportViews):
    """Three closed trades, whatever is asked."""

    async def newest(self) -> int:
        return 1_746_100_860_000

    async def report(self, span: Span) -> Report:
        trades = [TradeTruth(closed(n), Decimal(101)) for n in range(3)]
        return make(*span, Flows(Decimal(30), Decimal("0.3"), Decimal("-0.75"), 6), trades, [])

    async def surroundings(self, span: Span) -> Surroundings:
        return Surroundings(Checks(0, ()), (), (("MARGIN", "HIGH", 2),), (("m1", "HOLD", 9),))

    async def trade(
        self, position_id: str
    ) -> tuple[TradeTruth, list[tuple[BookedFill, Decimal]]] | None:
        return (TradeTruth(closed(1), Decimal(101)), []) if position_id == "pos-1" else None


@dataclass
class Running:
    """A served AnalyticsService."""

    process: Process
    views: StubViews
    watch: HealthWatch
    stub: rpc.AnalyticsServiceStub
    health: Any


@pytest_asyncio.fixture
async def served(free_port: int) -> AsyncIterator[Running]:
    """The service over a real server; every component is ready."""
    settings = AnalyticsSettings(
        _env_file=None,
        grpc_address=f"127.0.0.1:{free_port}",
        service_instance="analytics-1",
        drain_delay_seconds=0,
        build_id="abc123",
    )
    process = Process(ANALYTICS, settings, SystemClock())
    database = await Database.connect(
        "postgresql://127.0.0.1:1/none", schema="analytics", application_name="t", min_size=0
    )
    views = StubViews(database)
    supervision = supervise(process, settings, database, views, AnalyticsMetrics(process.metrics))
    watch = supervision.watch

    async def build(process: Process) -> Servicers:
        process.components.set("postgres", True)
        process.components.set("migrations", True)
        servicer = AnalyticsServicer(
            process=process,
            settings=settings,
            views=views,
            watch=watch,
            reports=ReportDesk(StubReports(database), process.clock),
            policies=PolicyStore(database, settings.first_policy, clock=process.clock),
            policy_changed=asyncio.Event().set,
            ask_rebalance=RebalanceRequests(database, enabled=True).ask,
            alerts=supervision.alerts,
            learning=LearningViews(database),
            modes=supervision.modes,
        )
        return [(rpc.add_AnalyticsServiceServicer_to_server, servicer)]

    task = asyncio.create_task(process.run(build))
    async with grpc.aio.insecure_channel(settings.grpc_address, options=QUICK) as channel:
        await channel.channel_ready()
        yield Running(
            process,
            views,
            watch,
            rpc.AnalyticsServiceStub(channel),
            health_pb2_grpc.HealthStub(channel),
        )
    process.stop()
    await task
    await database.close()
