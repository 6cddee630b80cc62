"""Learning on real servers: outcomes once, drift found, and what follows from it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import asyncpg
import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from quantum.analytics.v1 import alerts_pb2, learning_pb2
from quantum.analytics.v1 import analytics_service_pb2 as pb
from quantum.analytics.v1 import analytics_service_pb2_grpc as rpc

from services.analytics.codec import to_event
from services.analytics.learning.views import LearningViews
from services.analytics.store import LedgerStore
from services.ctl.servers.free import free_port as choose_port
from services.kit.bus.bus import Bus
from services.kit.bus.objects import Objects
from services.kit.postgres.db import Database
from tests.integration.analytics.conftest import ready, running, settings_for, soon
from tests.integration.analytics.learning_market import (
    NEW,
    OLD,
    SYMBOLS,
    FakeAi,
    FakeTrainer,
    Market,
    fake_ai,
    serving,
)
from tests.integration.analytics.ledger_samples import (
    MAY,
    MINUTE,
    closed_trade,
    delivered,
    outgoing,
)

LAG = 17
"""Minutes from a candle to the look at its outcome: the horizon and what may be late."""
QUICK: dict[str, object] = {
    "clm_enabled": True,
    "clm_interval": 0.05,
    "clm_bucket_minutes": 15,
    "clm_window_hours": 1,
    "clm_usual_windows": 2,
    "clm_shadow_hours": 0.5,
    "clm_watch_hours": 0.5,
    "clm_pause_hours": 0.25,
    "clm_min_samples": 60,
    "clm_training_every": 3,
}


@dataclass
class Desk:
    """A running service with a market, an ai and a trainer around it."""

    dsn: str
    market: Market
    ai: FakeAi
    trainer: FakeTrainer
    stub: Any

    async def rows(self, statement: str, *arguments: object) -> list[Any]:
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute("set search_path to analytics")
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    async def state(self) -> dict[str, Any]:
        (row,) = await self.rows("select * from learning_state")
        return {**dict(row), "state": json.loads(row["state"])}

    async def pass_time(self, minutes: int) -> None:
        """Let candles come and wait until all that is due is judged."""
        await self.market.pass_time(minutes, self.ai)
        due = self.market.time - LAG * MINUTE

        async def judged() -> bool:
            until = (await self.state())["judged_until"]
            return until is not None and until.timestamp() * 1000 >= due

        await soon(judged, deadline=40)

    async def pass_time_until(self, check: Callable[[], Awaitable[bool]], most: int) -> None:
        """Let a quarter of an hour pass again and again until something holds."""
        for _ in range(most):
            if await check():
                return
            await self.pass_time(15)
        raise AssertionError(f"not within {most} quarters of an hour: {await self.state()}")

    async def stage(self) -> str:
        return str((await self.state())["state"].get("stage", "IDLE"))

    async def steps(self) -> list[str]:
        rows = await self.rows(
            "select data from events where type = 'learning.event' order by timestamp, sequence"
        )
        kinds = [json.loads(row["data"])["event_type"] for row in rows]
        return [kind.removeprefix("LEARNING_EVENT_TYPE_") for kind in kinds]


@asynccontextmanager
async def desk(
    dsn: str, nats_url: str, bus: Bus, market: Market, ai: FakeAi, **changes: object
) -> AsyncIterator[Desk]:
    trainer, port = FakeTrainer(bus), choose_port()
    async with serving(ai, choose_port()) as target:
        settings = settings_for(
            dsn, nats_url, port, mesh_target=target, expected_services="analytics",
            **{**QUICK, **changes},
        )  # fmt: skip
        async with (
            running(settings) as process,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            await ready(process)
            yield Desk(dsn, market, ai, trainer, rpc.AnalyticsServiceStub(channel))
    if trainer.worker is not None:
        await trainer.worker.stop()


async def test_each_outcome_is_known_once_across_a_restart(
    ledger_dsn: str, nats_url: str, bus: Bus
) -> None:
    """Incident 103: a result is what the market did, and every prediction has one."""
    market, ai = Market(bus), fake_ai(bus)
    await ai.point(NEW)
    async with desk(ledger_dsn, nats_url, bus, market, ai, clm_enabled=False) as first:
        await market.pass_time(130, None)
        await first.pass_time(40)
        until = (await first.state())["judged_until"]
    await market.pass_time(20, ai)
    async with desk(ledger_dsn, nats_url, bus, market, ai, clm_enabled=False) as second:
        await second.pass_time(10)
        assert (await second.state())["judged_until"] > until
        answered = 40 + 20 + 10 - LAG
        rows = await second.rows(
            "select model_version, model_name, stage, count(*) as n, count(distinct timestamp) as t"
            " from learning_samples group by 1, 2, 3 order by 1, 2"
        )
        expected = len(SYMBOLS) * answered
        assert [(r["model_version"], r["model_name"], r["stage"], r["n"]) for r in rows] == [
            (NEW, "ensemble", "shadow", expected),
            (NEW, "lightgbm", "shadow", expected),
            (OLD, "ensemble", "active", expected),
            (OLD, "lightgbm", "active", expected),
        ]
        sums = await second.rows("select sum(numbers[1]) as n from learning_tallies")
        assert sums[0]["n"] == 4 * expected
        found = await second.stub.GetModelPerformance(
            learning_pb2.GetModelPerformanceRequest(window="7d")
        )
        by_stage = {(m.stage, m.model): m for m in found.models}
        active = by_stage[("active", "ensemble")]
        (hits,) = await second.rows(
            "select avg((prediction = outcome)::int)::float8 as rate from learning_samples"
            " where stage = 'active' and model_name = 'ensemble'"
        )
        assert active.samples == expected
        assert active.hit_rate == pytest.approx(hits["rate"])
        assert active.hit_rate_low < active.hit_rate < active.hit_rate_high
        assert active.hit_rate > by_stage[("shadow", "ensemble")].hit_rate

        async def counted() -> bool:
            health = await second.stub.GetHealth(pb.GetHealthRequest())
            assert health.learning_state.stage == "IDLE"
            return bool(health.learning_state.outcomes_known == 2 * expected)

        await soon(counted)


async def test_a_regime_change_leads_to_a_new_model_without_a_person(
    ledger_dsn: str, nats_url: str, bus: Bus
) -> None:
    market, ai = Market(bus), fake_ai(bus)
    async with desk(ledger_dsn, nats_url, bus, market, ai) as system:
        await system.trainer.start()
        await market.pass_time(300, None)
        await system.pass_time(30)
        for _ in range(12):
            await system.pass_time(15)
        assert await system.stage() == "IDLE"
        assert (await system.state())["drifting"] == "[]"

        market.wild = True

        async def promoted() -> bool:
            return ai.active == NEW

        await system.pass_time_until(promoted, 30)

        async def confirmed() -> bool:
            return "MODEL_CONFIRMED" in await system.steps()

        await system.pass_time_until(confirmed, 12)
        # results may fall so far, before the second window ends, that nothing else is waited for
        steps = [step for step in await system.steps() if step != "DRIFT_DETECTED"]
        assert steps == [
            "RETRAINING_REQUESTED",
            "RETRAINING_STARTED",
            "RETRAINING_COMPLETED",
            "MODEL_SHADOWED",
            "MODEL_UPDATED",
            "MODEL_CONFIRMED",
        ]
        assert len(system.trainer.jobs) == 1
        (job,) = system.trainer.jobs
        assert any("PSI" in r or "urgent" in r for r in job.reasons) and job.plan.every == 3
        content = await Objects(bus, "training").get(job.dataset)
        assert content is not None
        await _is_the_market(content, market)
        drifts = await system.rows("select data from events where type = 'model.drift_detected'")
        assert "atr" in {json.loads(row["data"])["quantity"] for row in drifts}

        async def at_rest() -> bool:
            health = MessageToDict(
                await system.stub.GetHealth(pb.GetHealthRequest()), preserving_proto_field_name=True
            )
            assert "last_retrain_time" in health["learning_state"]
            assert health["metrics"]["retrainings_triggered"] == 1
            return bool(health["learning_state"]["stage"] == "IDLE")

        await soon(at_rest)
        told = await system.rows("select distinct metric_name from model_performance")
        assert "hit_rate" in {row["metric_name"] for row in told}


async def _is_the_market(content: bytes, market: Market) -> None:
    import io

    with np.load(io.BytesIO(content), allow_pickle=False) as held:
        names = {name.split(".")[0] for name in held.files}
        assert names == set(SYMBOLS)
        for symbol in SYMBOLS:
            times, bars = held[f"{symbol}.1m.0.times"], held[f"{symbol}.1m.0.bars"]
            assert (np.diff(times) == MINUTE).all()
            # each candle opens where the one before closed, so none is missing or twice
            assert bars[1:, 0] == pytest.approx(bars[:-1, 3], abs=1e-5)
            assert len(bars) >= 300


async def test_a_person_asks_and_a_training_that_fails_is_told(
    ledger_dsn: str, nats_url: str, bus: Bus
) -> None:
    market, ai = Market(bus), fake_ai(bus)
    async with desk(ledger_dsn, nats_url, bus, market, ai, clm_max_failures=1) as system:
        await market.pass_time(400, None)
        await system.pass_time(40)
        system.trainer.error = "no row of class flat"
        ask = learning_pb2.TriggerRetrainingRequest(request_id="r-1", reason="a look")
        first = await system.stub.TriggerRetraining(ask)
        again = await system.stub.TriggerRetraining(ask)
        assert first.accepted and first == again
        other = await system.stub.TriggerRetraining(
            learning_pb2.TriggerRetrainingRequest(request_id="r-2")
        )
        assert not other.accepted
        await system.trainer.start()

        async def given_up() -> bool:
            return await system.stage() == "FAILED"

        await soon(given_up, deadline=20)

        async def told() -> bool:
            return (await system.steps())[-2:] == ["RETRAINING_FAILED", "GIVEN_UP"]

        await soon(told)
        state = (await system.state())["state"]
        assert state["reasons"] == ["no row of class flat"] and state["triggered"] == 1
        assert ai.calls == []

        async def alarmed() -> bool:
            listed = await system.stub.ListAlerts(alerts_pb2.ListAlertsRequest())
            found = {a.alert_type: a.message for a in listed.alerts}
            return "no row of class flat" in found.get("LearningGivenUp", "")

        await soon(alarmed)


async def test_the_better_model_gets_a_greater_share_through_the_policy(
    ledger_dsn: str, nats_url: str, bus: Bus
) -> None:
    """A step a window, told with its reasons; another artifact begins with its own shares."""
    market, ai = Market(bus), fake_ai(bus)
    ai.opposed = True
    quick = {"clm_window_hours": 5, "clm_min_samples": 100, "clm_retrain_hours": 10_000}
    async with desk(ledger_dsn, nats_url, bus, market, ai, **quick) as system:
        await market.pass_time(130, None)
        for _ in range(13):
            await system.pass_time(30)
        made = await system.rows(
            "select * from policy_versions where 'model_weights' = any(changed_fields)"
        )
        assert [(v["updated_by"], len(v["reasons"])) for v in made] == [("CLM", 2)]
        shares = json.loads(made[0]["policy"])["model_weights"]
        assert shares == pytest.approx({"lightgbm": 0.52, "xgboost": 0.48})

        async def told() -> bool:
            return "WEIGHTS_CHANGED" in await system.steps()

        await soon(told)
        assert (await system.state())["shares_of"] == OLD
        ai.active = NEW

        async def own_shares() -> bool:
            (row,) = await system.rows(
                "select policy from policy_versions order by version desc limit 1"
            )
            return not json.loads(row["policy"])["model_weights"]

        await system.pass_time_until(own_shares, 30)
        assert (await system.state())["shares_of"] == ""


async def test_the_trades_of_a_version_are_those_that_its_signals_opened(
    database: Database,
) -> None:
    """Incident 105: what speaks against a promoted model stands in the ledger, with its R."""
    facts = [
        (MAY + number * MINUTE, fact)
        for number in range(3)
        for fact in closed_trade(number, time=MAY + number * MINUTE, gross=-5)
    ]
    events = [
        to_event(delivered(outgoing(fact, time=time), place))
        for place, (time, fact) in enumerate(facts, 1)
    ]
    await LedgerStore(database).record(events)
    await database.pool.execute("update trades set initial_stop = entry_price - 2")
    views = LearningViews(database)
    found = await views.trades("m1", MAY + MINUTE)
    assert len(found) == 2
    assert all(o.net_pnl == Decimal("-5.08") and o.r == Decimal("-2.54") for o in found)
    assert await views.trades("m2", 0) == ()
