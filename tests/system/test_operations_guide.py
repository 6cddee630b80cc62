"""The operations guide from top to bottom, on a system that trades: each procedure, checked.

A test for each section of the guide, in its order, on one system; each leaves it trading, so that
one can be run by itself: `pytest -m drill tests/system/test_operations_guide.py -k scaling`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from services.ctl.backup import archive
from services.ctl.supervisor.home import read_json
from tests.support import books
from tests.support.eventually import eventually
from tests.support.folders import server_folder
from tests.support.stack import Stack, recorded_market

pytestmark = [
    pytest.mark.drill,
    pytest.mark.in_order,
    pytest.mark.timeout(1200),
    pytest.mark.asyncio(loop_scope="module"),
]

SERVICES = ("ai", "exec_risk", "analytics")
LONG = 400
"""Seconds for a command that stops and starts things."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    """A system that trades the recorded market where it is present, else the generated one."""
    with server_folder() as root, Stack(root, market=recorded_market()).running() as stack:
        yield stack


async def qt(stack: Stack, *arguments: str, check: bool = True) -> str:
    """Run a command that may take long, without holding up what the test does beside it."""
    return await asyncio.to_thread(stack.qt, *arguments, seconds=LONG, check=check)


async def answered(stack: Stack, *arguments: str, check: bool = True) -> Any:
    """Run a command and read its JSON."""
    return json.loads(await qt(stack, *arguments, "--json", check=check))


async def trades_on(stack: Stack) -> None:
    """Wait until more positions were closed than now: entries and exits work."""
    await stack.until_closed(await stack.closed_trades() + 2, 240)


async def test_daily_operations(stack: Stack, tmp_path: Path) -> None:
    await stack.until_closed(3, 240)
    checks = {row["check"]: row for row in await answered(stack, "check", "daily", check=False)}
    assert {"processes", *SERVICES, "errors of 24 h", "account", "exchange", "disk"} <= set(checks)
    for service in SERVICES:
        assert (await stack.health(service))["status"] == "healthy"
    told = await stack.health("exec_risk")
    assert told["binance_connected"] and {"open_positions", "daily_pnl"} <= told.keys()
    assert isinstance(await answered(stack, "logs", "--since=24h", "--errors"), list)

    async with stack.database() as connection:
        day = await connection.fetchval("select max(closed_day) from analytics.trades")
    assert (await answered(stack, "pnl", f"--date={day}"))["performance"]["days"]
    await qt(stack, "models", "performance", "--window=1d")
    used = {use["name"] for use in await answered(stack, "stats")}
    assert {"ai-1", "exec_risk", "postgres", "nats"} <= used
    assert isinstance(await answered(stack, "alerts", "list"), list)

    page = tmp_path / "week.html"
    await qt(stack, "report", "--period=week", f"--html={page}")
    assert "<svg" in page.read_text()
    assert (await answered(stack, "db", "vacuum"))["tables"] > 20
    kept = tmp_path / "week.log"
    await qt(stack, "logs", "--since=7d", f"--export={kept}")
    assert "signal_generated" in kept.read_text()
    assert "learning_state" in await stack.health("analytics")


async def test_restarts_drain_and_logs(stack: Stack) -> None:
    await qt(stack, "verify")
    before = stack.pids()
    await qt(stack, "restart", "analytics")
    await eventually(lambda: stack.pids().get("analytics", 0) not in (0, before["analytics"]), 60)
    await eventually(lambda: _verified(stack), 90, 1.0)

    before = stack.pids()
    await qt(stack, "restart", "--rolling")
    after = stack.pids()
    assert all(before[name] != after[name] for name in ("ai-1", "ai-2", "exec_risk", "analytics"))
    await trades_on(stack)

    await qt(stack, "drain", "exec_risk", "--reason=the guide")
    assert "the guide" in " ".join((await stack.health("exec_risk"))["reasons"])
    await qt(stack, "drain", "exec_risk", "--off")
    said = await answered(stack, "logs", "ai", "exec_risk", "--tail=5")
    assert {line["process"] for line in said} >= {"ai-1", "ai-2", "exec_risk"}


async def test_stops_and_selective_start(stack: Stack) -> None:
    """Everything stops; servers come first, ai next, then the rest; one service stops alone."""
    before = stack.pids()
    await qt(stack, "down")
    assert not [name for name, pid in before.items() if Path(f"/proc/{pid}").exists()]

    started = ("--detach", "--ports=auto", f"--market={stack.market}", "--speed=0")
    await qt(stack, "up", *started, "postgres", "nats")
    assert stack.pids().keys() == {"postgres", "nats"}
    await qt(stack, "up", "ai-service")
    assert {"ai-1", "ai-2", "gateway"} < stack.pids().keys()
    await eventually(lambda: _is_up(stack, "ai"), 60, 0.5)
    await qt(stack, "up", "exec-risk-service", "analytics-os-service")
    await eventually(lambda: _verified(stack), 90, 1.0)
    assert stack.pids().keys() >= before.keys() - {"prometheus", "jaeger"}
    await trades_on(stack)

    await qt(stack, "down", "ai-service")
    assert not {"ai-1", "ai-2"} & stack.pids().keys()
    assert await stack.health("ai") == {} and await stack.health("exec_risk")
    await qt(stack, "up")
    await trades_on(stack)

    before = stack.pids()
    await qt(stack, "down", "--force")
    assert not [name for name, pid in before.items() if Path(f"/proc/{pid}").exists()]
    await asyncio.to_thread(stack.up)
    await qt(stack, "verify")
    await trades_on(stack)


async def _is_up(stack: Stack, service: str) -> bool:
    return "status" in await stack.health(service)


async def _verified(stack: Stack) -> bool:
    return bool(await asyncio.to_thread(stack.qt, "verify", check=False)) and (
        (await stack.health("analytics")).get("status") == "healthy"
    )


async def test_monitoring_and_alerting(stack: Stack) -> None:
    for service in SERVICES:
        status, body = await stack.get(f"{stack.endpoints['gateway'][service]}/ready")
        assert (status, body["status"]) == (200, "ready")
    await qt(stack, "health")
    counted = await answered(stack, "events", "info")
    assert any(row["messages"] for row in counted)
    assert await answered(stack, "dlq", "list") == []


async def test_backup_and_recovery(stack: Stack, tmp_path: Path) -> None:
    made = Path((await answered(stack, "backup", f"--to={tmp_path}"))["file"])
    assert archive.verify(made).streams["EVENTS"]["messages"] > 0
    await qt(stack, "backup", "list", f"--to={tmp_path}")
    assert "qt backup" in await qt(stack, "backup", "schedule", "cron")
    await trades_on(stack)
    await qt(stack, "restore", str(made), "--yes")
    assert (await answered(stack, "reconcile"))["differences"] == []
    await trades_on(stack)


async def test_scaling(stack: Stack) -> None:
    await qt(stack, "scale", "ai=3")
    await eventually(lambda: "ai-3" in stack.pids(), 60)
    await eventually(lambda: _verified(stack), 90, 1.0)
    await qt(stack, "scale", "ai=2")
    await eventually(lambda: "ai-3" not in read_json(stack.home.processes_file), 60)


async def test_incident_response(stack: Stack) -> None:
    before = stack.pid("ai-1")
    stack.kill("ai-1")
    told = await answered(stack, "diagnose", "service-down", "ai", check=False)
    assert told["cause"] and told["evidence"]
    await eventually(lambda: stack.pids().get("ai-1", before) != before, 60)
    for playbook in ("latency", "errors"):
        assert (await answered(stack, "diagnose", playbook, check=False))["cause"]

    await qt(stack, "state", "set", "REDUCING", "--reason=playbook 4", "--yes")
    await answered(stack, "diagnose", "inconsistency", check=False)
    await qt(stack, "reconcile", "--apply", "--yes")
    assert (await answered(stack, "reconcile"))["differences"] == []
    await qt(stack, "state", "set", "ACTIVE", "--reason=all books agree", "--yes")
    await trades_on(stack)


async def test_maintenance(stack: Stack, tmp_path: Path) -> None:
    script = tmp_path / "upgrade.sh"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)
    await qt(stack, "maintenance", "on", "--announce=we upgrade", "--reason=the guide")
    await qt(stack, "maintenance", "off")
    await qt(stack, "maintenance", "run", str(script))
    for command in ("analyze", "vacuum", "reindex", "size"):
        await qt(stack, "db", command)
    await qt(stack, "db", "archive", "--older-than=30d")
    assert len((await answered(stack, "models", "list"))["models"]) == 4


async def test_after_all_that_the_books_agree(stack: Stack) -> None:
    await trades_on(stack)
    books.assert_equal(await books.read(stack))
    await qt(stack, "verify")
