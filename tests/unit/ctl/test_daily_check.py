"""The morning's check: what is wrong is told, and ends with 1."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ctl.checks.daily import Disk, Seen, judge, size
from services.ctl.checks.verdict import FAIL, LOOK, OK, failed, told
from services.ctl.logbook.causes import Cause

HEALTH = {"status": "healthy", "uptime_seconds": 7200.0, "reasons": []}
ACCOUNT = {
    **HEALTH,
    "binance_connected": True,
    "venue": "paper",
    "open_positions": 2,
    "daily_pnl": -12.5,
    "entries_blocked_by": "",
}
ROW = {"name": "ai-1", "state": "ready", "reason": "", "alert": "", "restarts": 0}
WELL = Seen(
    processes=[ROW],
    health={"ai": HEALTH, "exec_risk": ACCOUNT, "analytics": HEALTH},
    causes=[],
    disk=Disk(total=100, free=50, home=1),
    dashboards={"metrics": "http://127.0.0.1:9090"},
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def cause(level: str) -> Cause:
    return Cause("ai", "answer_failed", 3, level, NOW, NOW, ("ai-1",), "{}")


def states(seen: Seen) -> dict[str, str]:
    return {check.name: check.state for check in judge(seen)}


def test_a_system_that_is_well_has_nothing_to_do() -> None:
    checks = judge(WELL)
    assert not failed(checks)
    assert {check.state for check in checks} == {OK}
    assert [row["check"] for row in told(checks)] == [
        "processes", "ai", "exec_risk", "analytics", "errors of 24 h", "exchange", "account",
        "disk", "metrics",
    ]  # fmt: skip
    assert "2 open positions, -12.50 USD today" in {check.told for check in checks}


@pytest.mark.parametrize(
    ("seen", "name", "state"),
    [
        (replace(WELL, processes=[]), "processes", FAIL),
        (replace(WELL, processes=[{**ROW, "state": "failed"}]), "processes", FAIL),
        (replace(WELL, processes=[{**ROW, "alert": "restart loop"}]), "processes", FAIL),
        (replace(WELL, processes=[{**ROW, "restarts": 1}]), "processes", LOOK),
        (replace(WELL, causes=[cause("error")]), "errors of 24 h", LOOK),
        (replace(WELL, causes=[cause("critical")]), "errors of 24 h", FAIL),
        (replace(WELL, disk=Disk(100, 9, 1)), "disk", LOOK),
        (replace(WELL, disk=Disk(100, 4, 1)), "disk", FAIL),
        (replace(WELL, backups=True), "backup", LOOK),
        (replace(WELL, backups=True, backup_hours=27.0), "backup", LOOK),
        (replace(WELL, backups=True, backup_hours=2.0), "backup", OK),
    ],
)
def test_each_trouble_is_told_under_its_name(seen: Seen, name: str, state: str) -> None:
    found = states(seen)
    assert found[name] == state
    assert all(found[other] == OK for other in found if other != name)


@pytest.mark.parametrize(
    ("health", "name", "state"),
    [
        ({}, "exec_risk", FAIL),
        ({**ACCOUNT, "status": "critical"}, "exec_risk", FAIL),
        ({**ACCOUNT, "status": "degraded"}, "exec_risk", LOOK),
        ({**ACCOUNT, "binance_connected": False}, "exchange", FAIL),
        ({**ACCOUNT, "entries_blocked_by": "drain"}, "entries", LOOK),
        ({**ACCOUNT, "emergency_latched": True}, "entries", FAIL),
    ],
)
def test_what_exec_risk_says_is_judged(health: dict[str, Any], name: str, state: str) -> None:
    assert states(replace(WELL, health={**WELL.health, "exec_risk": health}))[name] == state


@given(st.sampled_from(["processes", "health", "disk"]), st.integers(0, 5))
def test_whatever_fails_ends_with_one_and_says_what_to_do(what: str, number: int) -> None:
    seen = {
        "processes": replace(WELL, processes=[ROW] * number + [{**ROW, "state": "failed"}]),
        "health": replace(WELL, health={**WELL.health, "ai": {}}),
        "disk": replace(WELL, disk=Disk(100, min(number, 4), 1)),
    }[what]
    checks = judge(seen)
    assert failed(checks)
    assert all(check.do.startswith("qt ") for check in checks if check.state == FAIL)


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (1_500, "1.5 kB"), (2e9, "2.0 GB")])
def test_sizes_are_readable(count: float, text: str) -> None:
    assert size(count) == text
