"""Playbooks: the cause is named by what was seen, and every answer has a command that exists."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import typer.main
from hypothesis import given
from hypothesis import strategies as st

from services.ctl.__main__ import app
from services.ctl.checks import incident
from services.ctl.checks.daily import Disk
from services.ctl.checks.diagnosis import (
    Books,
    Diagnosis,
    Outage,
    Pace,
    SlowQuery,
    Trouble,
    errors,
    inconsistency,
    latency,
    service_down,
)
from services.ctl.checks.quantiles import quantile
from services.ctl.logbook.causes import Cause

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WELL: dict[str, Any] = {"status": "healthy", "reasons": [], "binance_connected": True}
CAUSE = Cause("ai", "answer_failed: no window", 7, "error", NOW, NOW, ("ai-1",), '{"event": "x"}')


def row(name: str, service: str, state: str = "ready", **told: str) -> dict[str, Any]:
    return {"name": name, "service": service, "state": state, "reason": "", "alert": "", **told}


UP = Outage(
    service="ai",
    rows=[row("postgres", "postgres"), row("nats", "nats"), row("ai-1", "ai")],
    health={"ai": WELL, "exec_risk": WELL},
    causes=[],
    disk=Disk(100, 50, 1),
)
CALM = Pace(
    signal_seconds=0.1,
    cpu_percent=30.0,
    memory_percent=40.0,
    iowait_percent=1.0,
    processes={"ai-1": 50.0, "exec_risk": 20.0},
    bus_seconds=0.001,
)
QUIET = Trouble(causes=[], exchange=WELL, postgres=True, bus=True)
EQUAL = Books(differences=[], told=2, stored=2, dead_letters=0, waiting=0)


def of(name: str, state: str, **told: str) -> list[Mapping[str, Any]]:
    """The rows in which one process is in another state."""
    return [{**r, "state": state, **told} if r["name"] == name else r for r in UP.rows]


@pytest.mark.parametrize(
    ("seen", "area", "command"),
    [
        (UP, "none", "qt verify"),
        (replace(UP, rows=[]), "supervisor", "qt up"),
        (replace(UP, disk=Disk(100, 1, 1)), "disk", "qt db archive --older-than 30d"),
        (replace(UP, rows=of("postgres", "failed")), "postgres", "qt restart postgres"),
        (replace(UP, rows=of("nats", "restarting")), "nats", "qt restart nats"),
        (replace(UP, rows=of("ai-1", "failed", reason="NATS_URL")), "setting", "qt restart ai-1"),
        (
            replace(UP, rows=of("ai-1", "restarting", alert="restart loop")),
            "restart loop",
            "qt restart ai",
        ),
        (replace(UP, rows=of("ai-1", "live", reason="windows")), "process", "qt restart ai-1"),
        (replace(UP, rows=UP.rows[:2]), "topology", "qt up ai"),
        (replace(UP, health={"ai": {}, "exec_risk": {}}), "gateway", "qt restart gateway"),
        (replace(UP, health={"ai": {}, "exec_risk": WELL}), "hang", "qt restart ai"),
        (
            replace(UP, health={"ai": {"status": "critical", "reasons": ["exchange: away"]}}),
            "dependency",
            "qt diagnose errors",
        ),
        (replace(UP, service="nats", health={}), "none", "qt ps"),
    ],
)
def test_a_service_is_down_for_a_reason(seen: Outage, area: str, command: str) -> None:
    found = service_down(seen)
    assert (found.area, command in found.commands) == (area, True)
    assert (found.level == 1) == (area == "supervisor")


def test_what_others_need_is_blamed_before_them() -> None:
    """A service that fails while PostgreSQL is away is not the cause."""
    rows = [row("postgres", "postgres", "failed"), row("ai-1", "ai", "failed", alert="loop")]
    assert service_down(replace(UP, rows=rows, health={"ai": {}})).area == "postgres"
    assert service_down(replace(UP, service="postgres", rows=rows, health={})).area == "setting"


SLOW = SlowQuery(7, "analytics", 12.0, "select 1")


@pytest.mark.parametrize(
    ("seen", "area"),
    [
        (CALM, "none"),
        (replace(CALM, signal_seconds=None), "none"),
        (replace(CALM, signal_seconds=3.0), "unknown"),
        (replace(CALM, cpu_percent=99.0), "cpu"),
        (replace(CALM, memory_percent=95.0), "memory"),
        (replace(CALM, iowait_percent=50.0), "disk"),
        (replace(CALM, slow=[SLOW]), "database"),
        (replace(CALM, bus_seconds=None), "bus"),
        (replace(CALM, bus_seconds=0.5), "bus"),
        (replace(CALM, waiting={"ai-worker": 5_000}), "consumer"),
        (replace(CALM, waiting={"ai-worker": 5}), "none"),
        (replace(CALM, slow=[SLOW], cpu_percent=99.0, memory_percent=99.0), "database"),
    ],
)
def test_the_bottleneck_is_named(seen: Pace, area: str) -> None:
    assert latency(seen).area == area


def test_a_saturated_model_is_scaled_out_and_others_are_looked_at() -> None:
    busy = replace(CALM, cpu_percent=99.0, processes={"ai-1": 80.0, "exec_risk": 20.0})
    assert latency(busy).commands == ("qt scale ai=3",)
    other = replace(busy, processes={"ai-1": 5.0, "exec_risk": 90.0})
    assert latency(other).commands == ("qt stats --watch",)
    others = latency(replace(busy, cores=4))
    assert "other programs" in others.cause


def test_a_few_errors_are_no_incident_and_many_are() -> None:
    assert errors(replace(QUIET, causes=[CAUSE])).level == 4
    found = errors(replace(QUIET, causes=[CAUSE, CAUSE]))
    assert found.level == 3 and "qt restart ai" in found.commands


@pytest.mark.parametrize(
    ("seen", "area"),
    [
        (QUIET, "none"),
        (replace(QUIET, causes=[CAUSE]), "code"),
        (replace(QUIET, postgres=False, bus=False), "postgres"),
        (replace(QUIET, bus=False, causes=[CAUSE]), "bus"),
        (replace(QUIET, exchange={}), "exec_risk"),
        (replace(QUIET, exchange={**WELL, "binance_connected": False}), "exchange"),
        (replace(QUIET, causes=[CAUSE, replace(CAUSE, cause="HTTP 429")]), "rate limit"),
        (
            replace(QUIET, causes=[replace(CAUSE, example='{"event": "exchange_banned_us"}')]),
            "rate limit",
        ),
    ],
)
def test_the_source_of_errors_is_named(seen: Trouble, area: str) -> None:
    assert errors(seen).area == area


@pytest.mark.parametrize(
    ("seen", "area"),
    [
        (EQUAL, "none"),
        (replace(EQUAL, differences=None), "unknown"),
        (replace(EQUAL, differences=["BTCUSDT quantity"]), "exchange"),
        (replace(EQUAL, dead_letters=1), "events"),
        (replace(EQUAL, told=3), "moment"),
        (replace(EQUAL, told=None), "none"),
        (replace(EQUAL, waiting=2_000), "ledger"),
    ],
)
def test_books_that_differ_are_told(seen: Books, area: str) -> None:
    assert inconsistency(seen).area == area


def test_entries_stop_before_anything_is_repaired() -> None:
    """Playbook 4: trading stops first; exits go on."""
    found = inconsistency(replace(EQUAL, differences=["BTCUSDT quantity"]))
    assert found.commands[0].startswith("qt state set REDUCING")
    assert found.commands.index("qt reconcile --apply") > 0


OUTAGES = st.builds(
    Outage,
    st.sampled_from(["ai", "postgres", "exec_risk"]),
    st.lists(
        st.builds(
            row,
            st.sampled_from(["ai-1", "postgres", "nats", "exec_risk"]),
            st.sampled_from(["ai", "postgres", "nats", "exec_risk"]),
            st.sampled_from(["ready", "failed", "restarting", "live"]),
            alert=st.sampled_from(["", "restart loop"]),
        )
    ),
    st.dictionaries(st.sampled_from(["ai", "exec_risk"]), st.sampled_from([WELL, {}])),
    st.lists(st.just(CAUSE), max_size=2),
    st.builds(Disk, st.just(100), st.integers(0, 100), st.just(1)),
)
PACES = st.builds(
    Pace,
    st.none() | st.floats(0, 10),
    st.floats(0, 100),
    st.floats(0, 100),
    st.floats(0, 100),
    st.dictionaries(st.sampled_from(["ai-1", "nats"]), st.floats(0, 200)),
    st.lists(st.just(SLOW), max_size=2),
    st.none() | st.floats(0, 1),
    st.dictionaries(st.sampled_from(["ai-worker", "analytics-ledger"]), st.integers(0, 9_999)),
)
TROUBLES = st.builds(
    Trouble, st.lists(st.just(CAUSE)), st.sampled_from([WELL, {}]), st.booleans(), st.booleans()
)
NUMBERS = st.none() | st.integers(0, 3_000)
BOOKS = st.builds(Books, st.none() | st.lists(st.just("x")), NUMBERS, NUMBERS, NUMBERS, NUMBERS)
FOUND = (
    OUTAGES.map(service_down) | PACES.map(latency) | TROUBLES.map(errors) | BOOKS.map(inconsistency)
)
COMMANDS: Any = typer.main.get_command(app)


@given(FOUND)
def test_every_diagnosis_has_a_cause_and_commands_that_exist(found: Diagnosis) -> None:
    assert found.cause and found.commands and found.level in (1, 2, 3, 4)
    for command in found.commands:
        name, *rest = command.removeprefix("qt ").split()
        known = COMMANDS.commands[name]
        if hasattr(known, "commands") and not rest[0].startswith("-"):
            assert rest[0] in known.commands, command


@given(FOUND)
def test_the_incident_file_has_what_the_guide_asks_for(found: Diagnosis) -> None:
    page = incident.page("errors", "many errors", "2026-01-01 00:00:00Z", found, [CAUSE])
    assert f"SEV-{found.level}" in page and found.cause in page
    for part in ("## What was seen", "## Messages", "## Steps", "## Resolution", "## Root cause"):
        assert part in page
    assert all(f"- [ ] `{command}`" in page for command in found.commands)
    assert CAUSE.example in page


@given(st.lists(st.floats(0.0001, 9.9), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_a_quantile_lies_in_the_bucket_of_the_value(values: list[float], share: float) -> None:
    bounds = [0.01, 0.1, 0.5, 1.0, 2.0, 10.0, math.inf]
    buckets = {b: float(sum(v <= b for v in values)) for b in bounds}
    found = quantile(share, buckets)
    rank = share * len(values)
    exact = sorted(values)[max(0, math.ceil(rank) - 1)]
    assert found is not None
    upper = next(b for b in bounds if b >= exact)
    lower = max((b for b in bounds if b < exact), default=0.0)
    assert lower - 1e-9 <= found <= upper + 1e-9


@pytest.mark.parametrize("buckets", [{}, {math.inf: 0.0}, {1.0: 0.0, math.inf: 0.0}, {1.0: 3.0}])
def test_nothing_measured_has_no_quantile(buckets: dict[float, float]) -> None:
    assert quantile(0.95, buckets) is None


def test_what_is_above_all_buckets_is_the_last_bound() -> None:
    assert quantile(0.95, {1.0: 0.0, 2.0: 1.0, math.inf: 10.0}) == 2.0
