"""ExecRiskService over a real server and PostgreSQL; its leader trades on a simulated exchange."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import grpc
import pytest_asyncio
from quantum.exec_risk.v1 import exec_risk_service_pb2_grpc as rpc

from services.catalog.processes import EXEC_RISK
from services.exec_risk.app import MIGRATIONS, SCHEMA
from services.exec_risk.core.inputs import Prediction, PredictionsArrived
from services.exec_risk.core.policy import Gates, Policy
from services.exec_risk.counters import Counters
from services.exec_risk.database.commit_statement import ANSWERS_CHANNEL
from services.exec_risk.servicer import ExecRiskServicer
from services.exec_risk.serving.updates import Updates
from services.exec_risk.serving.views import Views
from services.exec_risk.store import PostgresStore
from services.exec_risk.term.leader import Leader
from services.exec_risk.term.term import Term, TermLimits
from services.kit.clock import SystemClock
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Lease
from services.kit.postgres.migrate import migrate
from services.kit.postgres.notify import Notifications
from services.kit.process import Process
from services.kit.server import Servicers
from services.kit.settings import ProcessSettings
from services.trade.order import Side
from tests.support.eventually import eventually
from tests.unit.exec_risk.account_desk import SYMBOLS, signal_of
from tests.unit.exec_risk.simulated_world import NoCandles, SimulatedExchange

QUICK = [("grpc.initial_reconnect_backoff_ms", 20), ("grpc.min_reconnect_backoff_ms", 20)]
WAIT_SECONDS = 3.0
WAITING = 20


class MovedClock(SystemClock):
    """The wall's clock, which a test may set ahead."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        """Return the wall time, moved."""
        return super().now() + self.ahead


@dataclass
class World:
    """A served ExecRiskService, and what a test moves."""

    stub: rpc.ExecRiskServiceStub
    process: Process
    database: Database
    exchange: SimulatedExchange
    clock: MovedClock
    leader: Leader
    updates: Updates

    @asynccontextmanager
    async def led(self) -> AsyncIterator[None]:
        """Lead for the time of the block, reconciled and ready."""
        tasks = [
            asyncio.create_task(self.leader.listen()),
            asyncio.create_task(self.leader.run()),
        ]
        try:
            await eventually(lambda: self.leader.term is not None and self.leader.term.ready)
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def point(self, side: Side | None = None, *, close: bool = False) -> None:
        """Move the market one point and wait for its answer; `side` is the signal of BTCUSDT."""
        point = self.exchange.step(close=close)
        if close:
            signal = signal_of("BTCUSDT", side, point.time) if side else None
            answers = [
                Prediction(s, "1m", point.time, signal if s == "BTCUSDT" else None) for s in SYMBOLS
            ]
            self.leader.put(PredictionsArrived(tuple(answers)))
        await eventually(lambda: self.exchange.idle_at >= point.number, interval=0.01)

    async def open(self) -> None:
        """Open a LONG position of BTCUSDT, protected."""
        await self.point(Side.BUY, close=True)
        await self.point()


@pytest_asyncio.fixture
async def world(postgres_dsn: str, free_port: int, tmp_path: Path) -> AsyncIterator[World]:
    """The service with nobody leading yet."""
    await migrate(postgres_dsn, SCHEMA, MIGRATIONS)
    database = await Database.connect(postgres_dsn, schema=SCHEMA, application_name="test")
    settings = ProcessSettings(
        _env_file=None,
        grpc_address=f"127.0.0.1:{free_port}",
        service_instance="exec-1",
        drain_delay_seconds=0,
        drain_file=tmp_path / "drain",
        maintenance_file=tmp_path / "maintenance",
        build_id="abc123",
    )
    clock, policy = MovedClock(), Policy(cooldown_ms=0)
    process = Process(EXEC_RISK, settings, clock)
    exchange = SimulatedExchange(random.Random(1), faults=0.0)  # noqa: S311 - a seeded test
    lease = Lease(database, "account.main", "exec-1", clock)
    store = PostgresStore(database, lease, "main", "paper")
    counters = Counters(process.metrics)

    def new_term() -> Term:
        return Term(
            policy=policy,
            exchange=exchange,
            store=store,
            candles=NoCandles(),
            clock=clock,
            limits=TermLimits(observed_wait=0.0),
            gates=lambda: Gates(process.draining, process.maintenance),
            on_effects=counters.count,
        )

    # nothing listens: the fallback alone carries answers
    polled = Notifications(
        postgres_dsn, ANSWERS_CHANNEL, clock, application_name="test", fallback_seconds=0.05
    )
    updates = Updates("main", waiting=WAITING)
    leader = Leader(exchange=exchange, lease=lease, new_term=new_term)

    async def build(process: Process) -> Servicers:
        process.components.set("postgres", True)
        process.components.set("exchange", True)
        servicer = ExecRiskServicer(
            process=process,
            views=Views(database, "main", clock, polled),
            policy=policy,
            counters=counters,
            updates=updates,
            leading=lambda: leader.leading,
            wait_seconds=WAIT_SECONDS,
        )
        return [(rpc.add_ExecRiskServiceServicer_to_server, servicer)]

    task = asyncio.create_task(process.run(build))
    async with grpc.aio.insecure_channel(settings.grpc_address, options=QUICK) as channel:
        await channel.channel_ready()
        stub = rpc.ExecRiskServiceStub(channel)
        yield World(stub, process, database, exchange, clock, leader, updates)
    process.stop()
    await task
    await database.close()
