"""A rolling restart with the real servers and stand-ins for the services."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from rich.console import Console

from services.ctl.commands.up import supervise
from services.ctl.supervisor.asking import ask, ask_steps
from services.ctl.supervisor.home import Home, Refused, read_json
from services.ctl.supervisor.rolling import Roll
from services.ctl.supervisor.supervisor import Supervisor
from tests.support.eventually import eventually
from tests.support.stand_in_system import running, supervisor

ROLL_SECONDS = 120.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("STAND_IN_FOLDER", str(tmp_path))
    return Home(tmp_path / "home")


def pids(made: Supervisor) -> dict[str, int]:
    return {row.name: row.pid for row in made.rows()}


@contextlib.asynccontextmanager
async def calls(home: Home) -> AsyncIterator[list[str]]:
    """Ask ai and exec_risk without pause; yields what failed."""
    ingress = read_json(home.endpoints_file)["gateway"]["ingress"]
    failed: list[str] = []
    made = 0

    async def call(session: aiohttp.ClientSession, path: str) -> None:
        nonlocal made
        while True:
            async with session.get(f"{ingress}{path}") as told:
                made += 1
                if told.status != 200:
                    failed.append(f"{path}: {told.status} {await told.text()}")
            await asyncio.sleep(0.01)

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        callers = [
            group.create_task(call(session, f"/v1/{name}/health")) for name in ("ai", "exec-risk")
        ]
        yield failed
        for caller in callers:
            caller.cancel()
    assert made > 100


@pytest.mark.drill
async def test_each_replica_in_turn_and_no_call_fails(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lone replica of exec_risk gets a spare, which is gone again afterwards."""
    monkeypatch.setenv("STAND_IN_DRAIN", "1.5")
    async with running(home) as made, calls(home) as failed:
        before = pids(made)
        with pytest.raises(Refused, match="venue cannot be restarted one by one"):
            Roll(made, ["venue"])
        steps = []
        async with asyncio.timeout(ROLL_SECONDS):
            async for step in Roll(made, ["exec_risk", "ai"]).run():
                steps.append(step)
                if step == "ai-1 restarts":
                    with pytest.raises(Refused, match="rolling restart is under way"):
                        await made.scale("ai", 3)
        assert steps == [
            *("ai-1 restarts", "ai-1 is ready", "ai-2 restarts", "ai-2 is ready"),
            *("exec_risk-2 starts as a spare", "exec_risk-2 is ready"),
            *("exec_risk restarts", "exec_risk is ready", "exec_risk-2 is gone again"),
        ]
        after = pids(made)
        changed = {name for name in before if before[name] != after.get(name)}
        assert changed == {"ai-1", "ai-2", "exec_risk"}
        assert after.keys() == before.keys()
        assert failed == []


async def test_what_fails_leaves_the_rest_and_everything_restarts_in_order(
    home: Home, tmp_path: Path
) -> None:
    """`qt restart`: servers too, by the same supervisor, which then stops as ever."""
    steps: list[str] = []
    with home.lock():
        made = supervisor(home, mesh=False)
        living = asyncio.create_task(supervise(made, Console(quiet=True)))
        try:
            await eventually(lambda: made.phase == "running", 60)
            before = pids(made)
            (tmp_path / "ai.bad").touch()
            with pytest.raises(Refused, match="ai-1 did not start again"):
                await ask_steps(home, "/roll/ai", steps.append)
            assert pids(made)["ai-2"] == before["ai-2"]
            (tmp_path / "ai.bad").unlink()
            await ask(home, "POST", "/restart")
            await eventually(lambda: made.starts == 2 and made.phase == "running", 60)
            after = pids(made)
            assert after.keys() == before.keys()
            assert not set(before.values()) & set(after.values())
            await ask(home, "POST", "/stop")
            await living
            assert made.phase == "stopped"
        finally:
            made.stop_asked.set()
            await asyncio.gather(living, return_exceptions=True)
