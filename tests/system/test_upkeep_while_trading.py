"""What operators do while a system trades: restarts, a restore, maintenance, another model."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from services.ai.artifact import active_folder
from services.ai.settings import SHIPPED_MODELS
from services.exec_risk.core.protection.protection_policy import ProtectionPolicy
from tests.support import books
from tests.support.eventually import eventually
from tests.support.folders import server_folder
from tests.support.stack import Stack, recorded_market

pytestmark = [
    pytest.mark.drill,
    pytest.mark.timeout(400),
    pytest.mark.asyncio(loop_scope="module"),
]

DEADLINE = 240
PATHS = {
    "exec_risk": "/v1/exec-risk/positions",
    "ai": "/v1/ai/predictions",
    "analytics": "/v1/analytics/portfolio",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    """A system that trades the recorded market where it is present, else the generated one."""
    with server_folder() as root, Stack(root, market=recorded_market()).running() as stack:
        yield stack


async def test_a_rolling_restart_fails_no_call_and_misses_no_candle(stack: Stack) -> None:
    """The standby leads before the leader is gone: every round once, whole, and the books agree."""
    await _rolled(stack, "exec_risk")


async def test_all_services_are_restarted_one_by_one_while_trading(stack: Stack) -> None:
    await _rolled(stack)


async def _rolled(stack: Stack, *services: str) -> None:
    await stack.until_closed(1, DEADLINE)
    began = await stack.last_round()
    arguments = ("restart", "--rolling", *services, "--json")
    async with _calls(stack, services or tuple(PATHS)) as failed:
        told = await asyncio.to_thread(stack.qt, *arguments, seconds=300)
        end = await stack.last_round() + timedelta(minutes=3)
        await eventually(lambda: stack.round_reached(end), deadline=180)
    assert json.loads(told)["steps"][-1].endswith(("is gone again", "is ready"))
    assert failed == []
    async with stack.database() as connection:
        rounds = await connection.fetch(
            "select timestamp, data -> 'missing' as missing from analytics.events"
            " where type = 'round.decided' and timestamp between $1 and $2 order by timestamp",
            began,
            end,
        )
        late = await connection.fetchval(
            "select count(*) from exec_risk.positions p where closed_at >= $1"
            " and exit_reason = 'TIMEOUT' and closed_at > opened_at + $2::interval and not exists"
            " (select 1 from analytics.events where type = 'directive.issued'"
            " and data ->> 'position_id' = p.position_id)",
            began,
            timedelta(milliseconds=ProtectionPolicy().max_holding_ms) + timedelta(minutes=1),
        )
    minutes = int((end - began) / timedelta(minutes=1))
    assert [r["timestamp"] for r in rounds] == [
        began + timedelta(minutes=n) for n in range(minutes + 1)
    ]
    assert [r for r in rounds if json.loads(r["missing"] or "[]")] == []
    assert late == 0
    books.assert_equal(await books.read(stack))
    await eventually(stack.quiet, deadline=60)


@asynccontextmanager
async def _calls(stack: Stack, services: tuple[str, ...]) -> AsyncIterator[list[str]]:
    """Ask services through the gateway without pause; yields what failed."""
    failed: list[str] = []

    async def call(session: aiohttp.ClientSession, path: str) -> None:
        while True:
            async with session.get(f"http://{stack.ingress}{path}") as told:
                if told.status != 200:
                    failed.append(f"{path}: {told.status} {await told.text()}")
            await asyncio.sleep(0.05)

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        callers = [group.create_task(call(session, PATHS[name])) for name in services]
        yield failed
        for caller in callers:
            caller.cancel()


async def test_a_restored_system_reconciles_before_it_trades_on(
    stack: Stack, tmp_path: Path
) -> None:
    """Backup, more trading, all data gone, restore: the books agree with the exchange again."""
    await stack.until_closed(5, DEADLINE)
    made = stack.json("backup", f"--to={tmp_path}")["file"]
    trades = await stack.closed_trades()
    await stack.until_closed(trades + 3, DEADLINE)
    await asyncio.to_thread(stack.qt, "restore", made, "--yes", seconds=400)
    assert stack.json("reconcile")["differences"] == []
    async with stack.database() as connection:
        moved = await connection.fetchrow("select state, reason from exec_risk.trading_state")
    assert tuple(moved) == ("ACTIVE", "restored, and compared with the exchange")
    trades = await stack.closed_trades()
    await stack.until_closed(trades + 3, DEADLINE)


async def test_a_maintenance_script_that_fails_leaves_the_system_in_maintenance(
    stack: Stack, tmp_path: Path
) -> None:
    await stack.until_closed(1, DEADLINE)
    script = tmp_path / "upgrade.sh"
    script.write_text("#!/bin/sh\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(AssertionError, match="STAYS IN MAINTENANCE"):
        await asyncio.to_thread(stack.qt, "maintenance", "run", str(script), seconds=400)
    assert {m["maintenance"] for m in stack.json("maintenance", "status")["modes"]} == {True}
    script.write_text("#!/bin/sh\nexit 0\n")
    await asyncio.to_thread(stack.qt, "maintenance", "run", str(script), seconds=400)
    assert {m["maintenance"] for m in stack.json("maintenance", "status")["modes"]} == {False}


async def test_a_model_is_shadowed_promoted_and_rolled_back_while_signals_flow(
    stack: Stack, tmp_path: Path
) -> None:
    """Incident 105: all replicas switch at one candle, and back, and every answer says whose it is.

    No candle is answered twice or not at all; what the shadow says is recorded and counts nothing.
    """
    first = active_folder(SHIPPED_MODELS)
    folder = tmp_path / "drill-1"
    shutil.copytree(first, folder)
    manifest = json.loads((folder / "manifest.json").read_text()) | {"version": "drill-1"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert stack.json("models", "add", str(folder)) == {"version": "drill-1", "stored": True}

    async def seen(query: str, *arguments: object) -> bool:
        async with stack.database() as connection:
            return bool(await connection.fetchval(query, *arguments))

    shadowed = (
        "select count(*) from analytics.events where type = 'prediction'"
        " and data ->> 'model_version' = 'drill-1' and (data ->> 'shadow')::bool"
    )
    answered = (
        "select count(*) from analytics.predictions where model_version = $1 and candle_open >= $2"
    )
    stack.json("models", "deploy", "drill-1", "--reason", "drill")
    await eventually(lambda: seen(shadowed), deadline=30)
    told = stack.json("models", "deploy", "drill-1", "--stage", "active", "--reason", "drill")
    switch = datetime.fromisoformat(told["pointer"]["effective_from"])
    await eventually(lambda: seen(answered, "drill-1", switch), deadline=30)
    health = await stack.health("ai")
    assert (health["status"], health["model_version"]) == ("healthy", "drill-1")
    told = stack.json("models", "rollback", "--reason", "drill")
    back = datetime.fromisoformat(told["pointer"]["effective_from"])
    assert told["pointer"]["rolled_back_version"] == "drill-1"
    await eventually(lambda: seen(answered, first.name, back), deadline=30)
    await eventually(lambda: _each_candle_once(stack, first.name, switch, back), deadline=15)


async def _each_candle_once(stack: Stack, first: str, switch: datetime, back: datetime) -> bool:
    minute = timedelta(minutes=1)
    begin, end = switch - 5 * minute, back + minute
    async with stack.database() as connection:
        rows = await connection.fetch(
            "select symbol, candle_open, model_version from analytics.predictions"
            " where candle_open >= $1 and candle_open < $2",
            begin,
            end,
        )
        told = await connection.fetch(
            "select type from analytics.events where type = any($1) and timestamp >= $2",
            ["model.promoted", "model.rolled_back"],
            begin,
        )
    symbols = {row["symbol"] for row in rows}
    assert len(rows) == len(symbols) * ((end - begin) // minute)
    for row in rows:
        held = switch <= row["candle_open"] + minute < back
        assert row["model_version"] == ("drill-1" if held else first), row
    assert {row["type"] for row in told} == {"model.promoted", "model.rolled_back"}
    return True
