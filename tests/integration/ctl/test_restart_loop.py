"""What the supervisor does with a process that cannot stay up."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from services.ctl.servers.command import Command
from services.ctl.supervisor.restart_loop import LOOP_RESTARTS
from services.ctl.supervisor.unit import Unit
from services.ctl.supervisor.watch import State, Watch
from tests.support.eventually import eventually

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import pathlib, sys, time
home = pathlib.Path(sys.argv[1])
(home / "starts").open("a").write(f"{time.monotonic()}\\n")
time.sleep(0.3)
print("setting KEY: is missing", flush=True)
while not (home / "code").exists():
    time.sleep(0.02)
sys.exit(int((home / "code").read_text()))
"""


async def answers() -> None:
    """A probe that always succeeds."""


def watched(home: Path) -> Watch:
    """Watch a process that ends with what the file `code` says, once it is there."""
    command = Command(
        arguments=(sys.executable, "-c", PROGRAM, str(home)),
        log=home / "log",
        directory=home,
        environment={},
    )
    unit = Unit(name="ai-1", service="ai", command=command, live=answers, ready=answers, address="")
    return Watch(unit, changed=lambda: None)


def starts(home: Path) -> list[float]:
    return [float(line) for line in (home / "starts").read_text().splitlines()]


async def test_a_crash_loop_backs_off_and_is_told(tmp_path: Path) -> None:
    """Incident 50: 30,000 restarts went unnoticed."""
    watch = watched(tmp_path)
    watch.begin()
    try:
        await eventually(lambda: watch.state is State.READY, 10)
        assert watch.alert == ""
        (tmp_path / "code").write_text("1")
        await eventually(lambda: watch.alert, 30)
        assert watch.restarts == LOOP_RESTARTS
        assert watch.alert.startswith(f"restart loop: {LOOP_RESTARTS} restarts in 300 s, last: ")
        assert watch.alert.endswith("ai-1 ended with 1: setting KEY: is missing")
        begun = starts(tmp_path)
        pauses = [later - sooner for sooner, later in pairwise(begun)]
        # each pause is the life of the process and a back-off that doubles from 0.4 s
        assert all(p >= 0.3 + 0.4 * 2**n for n, p in enumerate(pauses[: LOOP_RESTARTS - 1]))
    finally:
        await watch.stop(grace=False)


async def test_a_missing_credential_is_one_fatal_and_no_loop(tmp_path: Path) -> None:
    """Incident 50: exit code 2 is final until a person asks for a restart."""
    watch = watched(tmp_path)
    watch.begin()
    try:
        await eventually(lambda: watch.state is State.READY, 10)
        (tmp_path / "code").write_text("2")
        await eventually(lambda: watch.failed, 10)
        assert watch.alert == "ai-1 ended with 2: setting KEY: is missing"
        await asyncio.sleep(1)
        assert (watch.restarts, len(starts(tmp_path))) == (0, 1)
        (tmp_path / "code").unlink()
        watch.restart()
        await eventually(lambda: watch.state is State.READY, 10)
        assert (watch.alert, watch.restarts) == ("", 1)
    finally:
        await watch.stop(grace=False)


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        (
            {"EXCHANGE_VENUE": "demo"},
            "setting (combination): Value error, EXCHANGE_VENUE=demo needs BINANCE_API_KEY"
            " and BINANCE_API_SECRET",
        ),
        # a file that is there and cannot be read, also for root
        (
            {"QUANTUM_ENV_FILE": "/proc/self/mem"},
            "settings file /proc/self/mem cannot be read: Input/output error",
        ),
    ],
)
async def test_a_service_without_its_credential_ends_with_one_line(
    environment: dict[str, str], line: str
) -> None:
    """Incident 50: a missing or unreadable credential is one clear fatal, exit 2."""
    begun = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.exec_risk",
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told, wrong = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, told) == (2, b""), time.monotonic() - begun
    assert wrong.decode().splitlines() == [line]
