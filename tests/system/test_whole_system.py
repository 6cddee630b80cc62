"""The whole system on this machine: candles become trades, and all books agree."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from services.catalog.processes import SERVICES
from services.ctl.backup import archive
from services.trade import ids
from services.trade.times import from_datetime
from tests.support import account_history, books, queries
from tests.support.eventually import eventually
from tests.support.folders import server_folder
from tests.support.frozen import frozen
from tests.support.stack import Stack, recorded_market

pytestmark = [pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]

TRADES = 50
DEADLINE = 240


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    """A system that trades the recorded market where it is present, else the generated one."""
    with server_folder() as root, Stack(root, market=recorded_market()).running() as stack:
        yield stack


async def test_fifty_trades_and_three_books_that_agree(stack: Stack) -> None:
    """Incidents 84, 85: what the exchange says was earned is what is stored and reported."""
    await stack.until_closed(TRADES, DEADLINE)
    found = await books.read(stack)
    assert len(found.venue) >= 2 * TRADES
    books.assert_equal(found)


async def test_every_closed_trade_earned_what_its_fills_say(stack: Stack) -> None:
    """Ledger and executor hold the same trades; net is cash in less cash out less commission."""
    await stack.until_closed(TRADES, DEADLINE)
    async with stack.database() as connection:
        ledger = await connection.fetch("select * from analytics.trades where status = 'closed'")
        executor = {
            r["position_id"]: r
            for r in await connection.fetch("select * from positions where status = 'closed'")
        }
        assert len(ledger) >= TRADES - 5
        for trade in ledger:
            fills = await connection.fetch(
                "select side, price, quantity, commission from fills where position_id = $1",
                trade["position_id"],
            )
            cash = sum(
                (f["price"] * f["quantity"] * (1 if f["side"] == "SELL" else -1) for f in fills),
                Decimal(0),
            )
            costs = sum((f["commission"] for f in fills), Decimal(0))
            assert trade["net_pnl"] == cash - costs + trade["funding"]
            assert trade["position_id"] in executor
            assert trade["exit_reason"] == executor[trade["position_id"]]["exit_reason"]


async def test_the_report_is_the_venues_own_account_history(stack: Stack, tmp_path: Path) -> None:
    """Incidents 84, 85, 86, 93: gross, commission and funding are the exchange's, to the cent."""
    await stack.until_closed(TRADES, DEADLINE)
    report = await account_history.assert_report_equals_venue(stack)
    assert report["total"]["trades"] >= TRADES - 5
    measured = [trade["measures"] for trade in report["trades"]]
    assert [m for m in measured if not (m["signal_price"] and m["risk_usd"])] == []
    assert any(m["adverse_usd"] for m in measured)
    assert report["equity"]
    page = tmp_path / "report.html"
    stack.qt("report", "--period=week", f"--html={page}")
    assert page.read_text().count("<svg") >= 4
    day = report["by_day"][-1]["name"]
    shown = stack.json("pnl", f"--date={day}")["performance"]
    assert [d["day"] for d in shown["days"]] == [day]
    models = stack.json("models", "performance", "--window=7d")
    assert [m["name"] for m in models["models"]] == [m["name"] for m in report["by_model"]]
    trade = stack.json("trade", report["trades"][0]["position_id"])
    assert trade["status"] == "closed"
    assert len(trade["fills"]) >= 2


async def test_every_trade_has_one_trace_from_its_candle_to_the_ledger(stack: Stack) -> None:
    await stack.until_closed(TRADES, DEADLINE)
    async with stack.database() as connection:
        trades = await connection.fetch("select * from analytics.trades where status = 'closed'")
        assert trades
        for trade in trades:
            await _assert_one_trace(connection, trade)


async def _assert_one_trace(connection: asyncpg.Connection, trade: asyncpg.Record) -> None:
    rows = await connection.fetch(
        "select type, data, timestamp from analytics.events where trace_id = $1", trade["trace_id"]
    )
    types = {row["type"] for row in rows}
    assert types >= {
        "signal.generated",
        "risk.decided",
        "order.changed",
        "fill.recorded",
        "position.opened",
        "position.closed",
    }, f"{trade['symbol']} {trade['trace_id']}: {types}"
    signal_time = next(row["timestamp"] for row in rows if row["type"] == "signal.generated")
    candle_open = from_datetime(signal_time) - 60_000
    candle = f"paper.{trade['symbol']}.1m.{candle_open}"
    assert trade["trace_id"] == ids.trace_id(candle)


async def test_every_open_position_is_protected_on_the_exchange(stack: Stack) -> None:
    """Incident 4, 7, 12: the stop rests on the exchange, not in our memory."""

    async def protected() -> bool:
        held = {
            p["symbol"]
            for p in await stack.venue("/fapi/v3/positionRisk")
            if Decimal(p["positionAmt"])
        }
        resting = await stack.venue("/fapi/v1/openAlgoOrders")
        stops = {o["symbol"] for o in resting if o["orderType"] == "STOP_MARKET"}
        return held <= stops

    # Between a fill and the next step of the market the stop is on its way.
    for _ in range(3):
        await eventually(protected, deadline=10)


async def test_health_has_the_guides_fields(stack: Stack) -> None:
    await eventually(lambda: _well(stack), deadline=60)
    ai, executor, analytics = [await stack.health(s.key) for s in SERVICES]
    assert ai["models_loaded"] is True
    assert isinstance(ai["uptime_seconds"], (int, float))
    assert executor["binance_connected"] is True
    assert isinstance(executor["open_positions"], int)
    assert isinstance(executor["daily_pnl"], (int, float))
    assert analytics["portfolio_state"]["total_value_usd"] > 0
    assert set(analytics["service_health"]) >= {s.health_key for s in SERVICES}
    assert "rl_agents_loaded" not in ai
    for service in SERVICES:
        status, body = await stack.get(f"{stack.endpoints['gateway'][service.key]}/ready")
        assert (status, body) == (200, {"status": "ready"})


async def _well(stack: Stack) -> bool:
    """All services and parts are healthy, and nothing is told but what losses lead to."""
    told = [await stack.health(service.key) for service in SERVICES]
    assert [found["status"] for found in told] == ["healthy"] * len(SERVICES)
    analytics = told[-1]
    assert set(analytics["service_health"].values()) == {"healthy"}
    return await stack.quiet()


async def test_grpcurl_reaches_every_service_through_the_ingress(stack: Stack) -> None:
    def grpcurl(*arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("grpcurl")), "-plaintext", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = grpcurl(stack.ingress, "list").split()
    for service in SERVICES:
        assert service.grpc_service in listed
        assert "rpc GetHealth" in grpcurl(stack.ingress, "describe", service.grpc_service)
        probe = f'{{"service": "{service.grpc_service}"}}'
        assert "SERVING" in grpcurl("-d", probe, stack.ingress, "grpc.health.v1.Health/Check"), (
            service.name
        )
        assert '"status": "healthy"' in grpcurl(stack.ingress, f"{service.grpc_service}/GetHealth")


async def test_every_process_has_the_guides_metrics_as_prometheus_text(stack: Stack) -> None:
    async with aiohttp.ClientSession() as session:
        for instance in stack.endpoints["instances"].values():
            wanted = queries.GUIDE_METRICS.get(instance["service"], set())
            async with session.get(f"http://{instance['metrics']}/metrics") as answer:
                assert answer.content_type == "text/plain"
                text = await answer.text()
            names = {line.split("{")[0].split(" ")[0] for line in text.splitlines()}
            assert wanted <= names, (instance, wanted - names)


async def test_the_guides_own_queries_work(stack: Stack) -> None:
    """Incident 82 and hazard of the guide: `positions.status` and `events.timestamp` exist."""
    async with stack.database() as connection:
        count = await connection.fetchval("SELECT COUNT(*) FROM positions WHERE status = 'open'")
        assert count is not None
        assert await connection.fetchval(
            "SELECT COUNT(*) FROM events WHERE timestamp > '2000-01-01'::timestamptz"
        )


async def test_the_integration_harness_passes_and_fails_with_a_broken_executor(
    stack: Stack,
) -> None:
    """Incident 124: with the executor broken on purpose the harness must fail."""

    def harness(deadline: int) -> subprocess.CompletedProcess[str]:
        script = Path(__file__).resolve().parents[1] / "integration_test_harness.py"
        command = [sys.executable, str(script), "--address", stack.ingress]
        return subprocess.run(
            [*command, "--deadline", str(deadline)], capture_output=True, text=True, timeout=300
        )

    whole = await asyncio.to_thread(harness, 90)
    assert whole.returncode == 0, whole.stdout + whole.stderr + stack.tails()
    stack.qt("state", "set", "HALTED", "--reason=broken on purpose", "--yes")
    try:
        broken = await asyncio.to_thread(harness, 6)
    finally:
        stack.qt("state", "set", "ACTIVE", "--reason=mended", "--yes")
    assert broken.returncode == 1
    assert "no new entry was filled" in broken.stdout.replace("\n", " ")


async def test_a_real_fault_is_named_by_its_playbook(stack: Stack) -> None:
    """Playbooks 1 and 3: an executor that was killed; a database that hangs under the others."""
    await stack.until_closed(1, DEADLINE)
    stack.kill("exec_risk")
    told = await _diagnosed(stack, "service-down", "exec_risk")
    assert told["area"] == "process" and told["cause"].startswith("exec_risk is "), told
    assert "qt restart exec_risk" in told["commands"]
    await eventually(lambda: _all_ready(stack), 60, 0.5)

    async with frozen(stack, "postgres"):
        await eventually(lambda: _postgres_is_down(stack), 60, 0.5)
        told = await _diagnosed(stack, "service-down", "analytics")
        assert told["area"] == "postgres" and told["cause"].startswith("postgres is "), told
        assert told["commands"][-1] == "qt restart postgres" and Path(told["incident"]).is_file()
        told = await _diagnosed(stack, "errors")
        assert (told["area"], told["level"]) == ("postgres", 2), told
    await eventually(lambda: _all_ready(stack), 120, 0.5)
    await stack.until_closed(await stack.closed_trades() + 1, DEADLINE)


async def _diagnosed(stack: Stack, *playbook: str) -> dict[str, Any]:
    """Run a playbook beside the test, which may have to keep the fault up."""
    said = await asyncio.to_thread(stack.qt, "diagnose", *playbook, "--json", check=False)
    told: dict[str, Any] = json.loads(said)
    return told


async def _unready(stack: Stack) -> set[str]:
    told = await asyncio.to_thread(stack.json, "ps")
    return {row["name"] for row in told["processes"] if row["state"] != "ready"}


async def _all_ready(stack: Stack) -> bool:
    return not await _unready(stack)


async def _postgres_is_down(stack: Stack) -> bool:
    return "postgres" in await _unready(stack)


@pytest.mark.parametrize("command", ["ps", "positions", "pnl", "signals"])
async def test_commands_answer_in_json(stack: Stack, command: str) -> None:
    await stack.until_closed(1, DEADLINE)
    answer = stack.json(command)
    assert isinstance(answer, list if command != "pnl" and command != "ps" else dict)


async def test_in_maintenance_and_drained_nothing_is_entered_and_exits_go_on(stack: Stack) -> None:
    """Told to users, seen in health and metrics, and over when it is switched off."""
    began = await _maintained_while_holding(stack)
    try:
        reasons = (await stack.health("exec_risk"))["reasons"]
        assert "maintenance: upgrade" in reasons
        assert await _metric(stack, "exec_risk", "exec_risk_service_maintenance") == 1
        stack.qt("drain", "exec_risk")
        assert await _metric(stack, "exec_risk", "exec_risk_service_draining") == 1
        assert {m["drain"] for m in stack.json("maintenance", "status")["modes"]} == {True, False}
        await eventually(lambda: _told_of_maintenance(stack), deadline=30)
        stack.qt("drain", "exec_risk", "--off")
        await eventually(lambda: stack.round_reached(began + timedelta(minutes=90)), 150)
        async with stack.database() as connection:
            opened, closed, left = await connection.fetchrow(
                "select count(*) filter (where opened_at > $1), count(*) filter (where closed_at"
                " > $1), count(*) filter (where status = 'open') from exec_risk.positions",
                began,
            )
        assert opened == 0
        assert closed > 0 and left == 0, "in 90 minutes every position is left by time"
    finally:
        stack.qt("maintenance", "off")
    trades = await stack.closed_trades()
    await stack.until_closed(trades + 1, DEADLINE)
    await eventually(stack.quiet, deadline=60)


async def _maintained_while_holding(stack: Stack) -> datetime:
    """Switch maintenance on and return from which round on, with positions held in that round."""
    for _ in range(10):
        await eventually(lambda: _held(stack), DEADLINE)
        stack.qt("maintenance", "on", "--announce=we upgrade", "--reason=upgrade")
        began = await stack.last_round() + timedelta(minutes=1)
        await eventually(lambda began=began: stack.round_reached(began), 30)  # type: ignore[misc]
        if await _held(stack, began):
            return began
        stack.qt("maintenance", "off")
    raise AssertionError("no position was held when maintenance began, ten times")


async def _held(stack: Stack, after: datetime | None = None) -> bool:
    """Whether a position is open, or was after a moment of market time."""
    async with stack.database() as connection:
        return bool(
            await connection.fetchval(
                "select count(*) from exec_risk.positions"
                " where closed_at is null or closed_at > coalesce($1::timestamptz, 'infinity')",
                after,
            )
        )


async def _metric(stack: Stack, instance: str, name: str) -> float:
    where = stack.endpoints["instances"][instance]["metrics"]
    async with aiohttp.ClientSession() as session, session.get(f"http://{where}/metrics") as told:
        lines = (await told.text()).splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


async def _told_of_maintenance(stack: Stack) -> bool:
    alerts = stack.json("alerts", "list")
    return any(alert["alert_type"] == "PlannedMaintenance" for alert in alerts)


async def test_a_backup_is_taken_while_trading_and_is_whole(stack: Stack, tmp_path: Path) -> None:
    """Nothing waits for it: every round is decided, once; what it holds can be read back."""
    await stack.until_closed(1, DEADLINE)
    began = await stack.last_round()
    stack.qt("state", "set", "ACTIVE", "--reason=for the record", "--yes")
    made = json.loads(
        await asyncio.to_thread(stack.qt, "backup", f"--to={tmp_path}", "--json", seconds=120)
    )
    manifest = archive.verify(Path(made["file"]))
    names = {member.name for member in manifest.members}
    assert sum(manifest.tables.values()) > 1000 and manifest.streams["EVENTS"]["messages"] > 0
    assert {"postgres.dump", "home/venue/journal.sqlite", "streams/OBJ_models.snapshot"} <= names
    assert not [name for name in names if "identities" in name or "secret" in name]
    assert await stack.last_round() > began
    assert stack.json("backup", "list", f"--to={tmp_path}")[0]["file"] == made["file"]
    await eventually(lambda: _told_of_commands(stack), deadline=30)


async def _told_of_commands(stack: Stack) -> bool:
    """Who, what and why of both commands stand in the ledger."""
    rows = await stack.rows("select data from analytics.events where type = 'operator.command'")
    told = [json.loads(row["data"]) for row in rows]
    said = {(one["command"].split()[0], one.get("reason", "")) for one in told if one["by"]}
    return {("state", "for the record"), ("backup", "")} <= said


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
async def test_every_query_of_guide_rules_and_dashboards_finds_data(stack: Stack) -> None:
    """What people look at and what alerts compare is there, in a Prometheus that `qt up` runs."""
    await stack.until_closed(1, DEADLINE)
    prometheus = stack.endpoints["metrics_told"]
    missing = queries.every()

    async def found() -> bool:
        missing[:] = await queries.without_data(prometheus, missing)
        return not missing

    try:
        await eventually(found, deadline=60, interval=3)
    except AssertionError as error:
        raise AssertionError(f"no data: {missing}") from error


async def test_what_operators_look_at_every_day(stack: Stack) -> None:
    """The guide's morning, the weekly upkeep of the database, and playbook 2."""
    await stack.until_closed(1, DEADLINE)
    told = stack.qt("check", "daily", "--json", check=False)
    checks = {row["check"]: row for row in json.loads(told)}
    assert checks["exchange"]["told"] == "paper, connected"
    assert {"processes", "ai", "errors of 24 h", "account", "disk", "metrics"} <= checks.keys()
    used = {use["name"]: use for use in stack.json("stats")}
    assert used["postgres"]["processes"] > 1 and used["ai-1"]["memory_bytes"] > 50e6
    tended = stack.json("db", "vacuum")
    assert tended["tables"] > 20
    assert stack.json("db", "migrate") == {"exec_risk": [], "analytics": []}
    counted = stack.qt("db", "psql", "--command=select count(*) from positions")
    assert int(counted.splitlines()[2]) >= 1
    said = stack.json("logs", "ai", "--grep=signal_generated", "--tail=1")
    assert said and said[0]["trace_id"]
    pace = json.loads(stack.qt("diagnose", "latency", "--json", check=False))
    assert pace["playbook"] == "latency" and pace["evidence"]
