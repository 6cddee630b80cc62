"""The fund's layers on a real ledger: rounds decided once, by one replica, over restarts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.message import Message as Protobuf
from quantum.exec_risk.v1 import events_pb2 as facts

from services.analytics.codec import to_event
from services.analytics.core.fund.rounds import FundLimits
from services.analytics.fund.loop import FundLoop
from services.analytics.fund.rebalance_requests import RebalanceRequests
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.policy.store import PolicyStore
from services.analytics.store import LedgerStore
from services.analytics.views import Views
from services.kit.clock import SystemClock
from services.kit.errors import FailedPrecondition
from services.kit.observe.metrics import Metrics
from services.kit.postgres.db import Database
from services.kit.postgres.lease import Lease
from services.trade.codec import time_to_pb
from services.trade.fund_policy import FundMode, FundPolicy
from tests.integration.analytics.ledger_samples import (
    MAY,
    MINUTE,
    delivered,
    fill,
    outgoing,
    position,
    round_decided,
)


class Desk:
    """A ledger and the loop of one replica."""

    def __init__(self, database: Database, owner: str = "a") -> None:
        self.database = database
        self.ledger = LedgerStore(database)
        self.policies = PolicyStore(database, FundPolicy(), clock=SystemClock())
        self.changes = 0
        self.lease = Lease(database, "fund", owner, SystemClock(), ttl=30)
        self.loop = FundLoop(
            database=database,
            lease=self.lease,
            policies=self.policies,
            limits=FundLimits(),
            health=lambda: 100,
            changed=self._changed,
            metrics=AnalyticsMetrics(Metrics(f"fund_{owner}")),
            clock=SystemClock(),
            wait_seconds=0.3,
        )
        self._sequence = 0

    def _changed(self) -> None:
        self.changes += 1

    async def record(self, messages: Sequence[Protobuf], time: int) -> None:
        """Let the ledger hold facts."""
        events = []
        for message in messages:
            self._sequence += 1
            key = "round" if isinstance(message, facts.RoundDecided) else "BTCUSDT"
            sent = outgoing(message, time=time, key=key)
            events.append(to_event(delivered(sent, self._sequence)))
        await self.ledger.record(events)

    async def round(self, minute: int, equity: str, close: str = "100") -> None:
        """Let a round be over, and decide it."""
        time = MAY + minute * MINUTE
        await self.record([round_decided(time, wallet=equity, close=close)], time)
        await self.loop.after("main", time)

    async def told(self, event_type: str) -> list[Any]:
        """Return the facts of a type, as their subjects."""
        rows = await self.database.pool.fetch(
            "select subject from outbox where headers ->> 'ce-type' = $1 order by id", event_type
        )
        return [row["subject"] for row in rows]


async def opened(desk: Desk, quantity: str = "1") -> None:
    """Open a position whose stop is one percent away."""
    told = facts.PositionOpened(
        symbol="BTCUSDT",
        position_id="pos-1",
        entry_price="100",
        stop_loss_price="99",
        entry_timestamp=time_to_pb(MAY),
        position=position("pos-1", version=1, closed=False),
    )
    entry = fill(1, position="pos-1", entry=True, price="100", quantity=quantity)
    await desk.record([entry, told], MAY)


async def test_a_drawdown_changes_the_mode_and_reduces_once(database: Database) -> None:
    desk = Desk(database)
    await desk.policies.begin()
    assert await desk.lease.take()
    await opened(desk)
    await desk.round(1, "10000")
    assert (await desk.policies.version()).policy.version == 1
    await desk.round(2, "9600")
    safe = await desk.policies.version()
    assert (safe.policy.fund_mode, safe.updated_by) == (FundMode.SAFE, "HFOS")
    assert safe.policy.effective_from == MAY + 2 * MINUTE + 1 and desk.changes == 1
    (row,) = await database.pool.fetch("select * from directives")
    assert (row["action"], row["share"], row["layer"]) == ("REDUCE", Decimal("0.2"), "HFOS")
    assert await desk.told("directive.issued") == ["quantum.events.directive.issued.main.BTCUSDT"]
    await desk.round(2, "9600")
    other = Desk(database, "b")
    await other.round(2, "9600")
    assert len(await database.pool.fetch("select * from directives")) == 1
    assert (await Views(database).ledger_state()).overdue_directives == 0
    await desk.round(9, "9650")
    assert (await Views(database).ledger_state()).overdue_directives == 1
    applied = facts.DirectiveApplied(
        directive_id=row["directive_id"],
        account="main",
        symbol="BTCUSDT",
        result="APPLIED",
        time=time_to_pb(MAY + 3 * MINUTE),
    )
    await desk.record([applied], MAY + 3 * MINUTE)
    assert (await Views(database).ledger_state()).overdue_directives == 0


async def test_a_winner_is_sold_in_part_and_what_was_done_survives_a_restart(
    database: Database,
) -> None:
    desk = Desk(database)
    await desk.policies.begin()
    assert await desk.lease.take()
    await opened(desk)
    await desk.round(1, "10000", close="102.5")
    actions = [r["action"] for r in await database.pool.fetch("select action from directives")]
    assert actions == ["PARTIAL_TAKE_PROFIT"]
    assert len(await desk.told("profit.amplification")) == 1
    await desk.lease.release()
    again = Desk(database, "b")
    assert await again.lease.take()
    await again.round(2, "10000", close="102.5")
    rows = await database.pool.fetch("select action from directives order by decided_at")
    assert [r["action"] for r in rows] == ["PARTIAL_TAKE_PROFIT", "SCALE_IN"]


async def test_a_person_asks_for_balance_once(database: Database) -> None:
    desk = Desk(database)
    await desk.policies.begin()
    assert await desk.lease.take()
    await opened(desk, quantity="400")
    await desk.round(1, "100000")
    requests = RebalanceRequests(database, enabled=True)
    assert await requests.ask("main", "look", "r-1") == MAY + MINUTE
    assert await requests.ask("main", "look", "r-1") == MAY + MINUTE
    before = len(await desk.told("portfolio.balance"))
    await desk.round(2, "100000")
    await desk.round(3, "100000")
    assert len(await desk.told("portfolio.balance")) >= before + 1
    done = await database.pool.fetch("select done_at_round from rebalance_requests")
    assert len(done) == 1 and done[0]["done_at_round"] is not None
    with pytest.raises(FailedPrecondition):
        await RebalanceRequests(database, enabled=False).ask("main", "look", "r-2")


async def test_a_replica_without_the_lease_waits_for_the_one_with_it(database: Database) -> None:
    desk, other = Desk(database), Desk(database, "b")
    await desk.policies.begin()
    assert await desk.lease.take()
    time = MAY + MINUTE
    await desk.record([round_decided(time, wallet="10000")], time)
    waiting = asyncio.create_task(other.loop.after("main", time))
    await desk.loop.after("main", time)
    await waiting
    state = await database.pool.fetchval("select state from fund_state")
    assert json.loads(state)["round_time"] == time
