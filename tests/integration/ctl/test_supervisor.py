"""The supervisor with the real servers and stand-ins for the services."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aiohttp
import asyncpg
import psutil
import pytest

from services.ctl.servers import jaeger, prometheus
from services.ctl.servers.command import ServerFailed
from services.ctl.supervisor.child import HOME_MARK, strays
from services.ctl.supervisor.home import Home, Refused, read_json
from services.ctl.supervisor.rolling import Roll
from services.ctl.supervisor.selection import Selection
from services.ctl.supervisor.supervisor import Supervisor
from services.ctl.supervisor.watch import State, Watch
from services.kit.postgres.login import Login
from tests.support.eventually import eventually
from tests.support.stand_in_system import running, supervisor

SERVICES = {"ai-1", "ai-2", "exec_risk", "analytics"}
SIDECARS = {f"{service}.sidecar" for service in SERVICES}
FOUND = {server.__name__.rpartition(".")[2] for server in (prometheus, jaeger) if server.found()}
"""What runs besides where its binary is installed."""
EVERYTHING = {"postgres", "nats", "traces", "venue", "gateway", *FOUND, *SERVICES, *SIDECARS}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("STAND_IN_FOLDER", str(tmp_path))
    return Home(tmp_path / "home")


def pids(supervisor: Supervisor) -> dict[str, int]:
    return {row.name: row.pid for row in supervisor.rows()}


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as told:
        return told.status, await told.text()


async def test_everything_starts_answers_and_stops(home: Home) -> None:
    async with running(home) as supervisor:
        assert {row.name for row in supervisor.rows()} == EVERYTHING
        assert {row.state for row in supervisor.rows()} == {"ready"}
        endpoints = read_json(home.endpoints_file)
        for service in ("ai", "exec_risk", "analytics"):
            status, text = await get(endpoints["gateway"][service] + "/health")
            assert status == 200 and '"healthy"' in text
        login = Login(
            supervisor.topology.dsn("quantum_user"),
            supervisor.topology.identities.password_file("quantum_user"),
        )
        connection = await asyncpg.connect(**login.options())
        assert await connection.fetchval("show search_path") == "exec_risk, analytics"
        await connection.close()
        alive = pids(supervisor)
    assert not any(psutil.pid_exists(pid) for pid in alive.values())
    assert strays(home.root, set()) == []


async def test_only_what_was_named_starts_and_more_comes_and_goes(home: Home) -> None:
    """The guide's selective start: servers, then ai, then the rest; and one service stopped."""
    made = supervisor(home, chosen=Selection.of(["postgres", "nats"]))
    try:
        await made.start()
        assert pids(made).keys() == {"postgres", "nats"}
        with pytest.raises(Refused, match="ai does not run here: `qt up ai` starts it"):
            await made.scale("ai", 3)
        with pytest.raises(Refused, match="analytics does not run here: `qt up analytics`"):
            Roll(made, ["analytics"])
        with pytest.raises(Refused, match="trainer is not there; start the system with TRAINER"):
            await made.include(Selection.of(["trainer"]))

        await made.include(Selection.of(["ai-service"]))
        with_ai = {"postgres", "nats", "traces", "gateway", "ai-1", "ai-2"}
        assert pids(made).keys() == with_ai | {"ai-1.sidecar", "ai-2.sidecar"}
        ports = read_json(home.endpoints_file)["gateway"]
        await eventually(partial(_answers, ports["ai"], 200), 20)
        assert (await get(ports["exec_risk"] + "/health"))[0] == 503
        assert await made.include(Selection.of(["ai", "nats"])) == []

        await made.include(Selection())
        assert pids(made).keys() == EVERYTHING
        await eventually(partial(_answers, ports["exec_risk"], 200), 20)

        with pytest.raises(Refused, match="postgres is needed by analytics, exec_risk"):
            await made.exclude(["postgres"])
        before = pids(made)
        assert set(await made.exclude(["ai"])) == {"ai-1", "ai-2"}
        assert pids(made) == {n: pid for n, pid in before.items() if not n.startswith("ai-")}
        assert not any(psutil.pid_exists(before[name]) for name in ("ai-1", "ai-2.sidecar"))
        await eventually(partial(_answers, ports["ai"], 503), 20)
        with pytest.raises(Refused, match="ai: nothing of that runs here"):
            await made.exclude(["ai"])
    finally:
        await made.stop()
    assert strays(home.root, set()) == []


async def _answers(url: str, status: int) -> bool:
    return (await get(f"{url}/health"))[0] == status


async def test_what_dies_is_started_again_and_what_hangs_is_killed(
    home: Home, tmp_path: Path
) -> None:
    async with running(home) as supervisor:
        before = pids(supervisor)
        os.kill(before["ai-1"], signal.SIGKILL)
        os.kill(before["postgres"], signal.SIGKILL)
        (tmp_path / "exec_risk.hang").touch()
        await eventually(lambda: supervisor.watches["exec_risk"].restarts == 1, 40)
        (tmp_path / "exec_risk.hang").unlink()
        await eventually(lambda: all(row.state == "ready" for row in supervisor.rows()), 30)
        after = pids(supervisor)
        assert {name for name in before if before[name] != after[name]} == {
            "ai-1",
            "postgres",
            "exec_risk",
        }


async def test_a_supervisor_after_a_crash_adopts_what_runs(home: Home) -> None:
    """`qt up` may be killed itself: the next one takes over, nothing is started twice."""
    async with running(home) as first:
        before = pids(first)
        for watch in first.watches.values():
            assert watch._task is not None
            watch._task.cancel()  # as if this supervisor were gone
        async with running(home) as second:
            assert pids(second) == before
            assert all(row.adopted for row in second.rows())
            os.kill(before["venue"], signal.SIGKILL)
            await eventually(lambda: second.watches["venue"].restarts == 1, 10)
            await eventually(lambda: second.watches["venue"].state is State.READY, 10)
    assert not any(psutil.pid_exists(pid) for pid in before.values() if pid != before["venue"])


async def test_adoption_restarts_what_would_run_with_other_settings(home: Home) -> None:
    async with running(home, speed=10) as first:
        before = pids(first)
        for watch in first.watches.values():
            assert watch._task is not None
            watch._task.cancel()
        async with running(home, speed=20) as second:
            after = pids(second)
            assert {name for name in before if before[name] != after[name]} == {"venue"}


async def test_a_process_that_no_file_names_is_found_and_ended(home: Home) -> None:
    home.create()
    stray = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "import time; time.sleep(600)",
        env={**os.environ, HOME_MARK: str(home.root)},
        start_new_session=True,
    )
    async with running(home):
        assert await asyncio.wait_for(stray.wait(), 5) == -signal.SIGTERM


async def test_a_bad_setting_ends_the_start_with_its_line(home: Home, tmp_path: Path) -> None:
    (tmp_path / "ai.bad").touch()
    with pytest.raises(ServerFailed, match=r"ai-1 ended with 2: setting FOO: must be a number"):
        async with running(home):
            pytest.fail("started with a bad setting")
    assert strays(home.root, set()) == []


def restarted(watch: Watch) -> bool:
    return watch.restarts == 1 and watch.state is State.READY


@contextlib.asynccontextmanager
async def calls_without_a_failure(home: Home) -> AsyncIterator[None]:
    """Read through the gateway without pause; fail when any answer is not 200."""
    ingress = read_json(home.endpoints_file)["gateway"]["ingress"]
    ended = asyncio.Event()
    failed: list[tuple[int, str]] = []
    made = 0

    async def call() -> None:
        nonlocal made
        while not ended.is_set():
            status, text = await get(f"{ingress}/v1/ai/health")
            made += 1
            if status != 200:
                failed.append((status, text))
            await asyncio.sleep(0.01)

    caller = asyncio.create_task(call())
    yield
    ended.set()
    await caller
    assert made > 50 and failed == []


async def test_scale_adds_and_removes_replicas_and_their_sidecars_under_load(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_DRAIN", "1.5")
    async with running(home) as supervisor, calls_without_a_failure(home):
        await supervisor.scale("ai", 3)
        assert {"ai-3", "ai-3.sidecar"} <= pids(supervisor).keys()
        file = home.envoy / "eds" / "ai.json"
        assert file.read_text().count("port_value") == 3
        await supervisor.scale("ai", 1)
        assert {n for n in pids(supervisor) if n.startswith("ai")} == {"ai-1", "ai-1.sidecar"}
        assert file.read_text().count("port_value") == 1


async def test_a_restart_leaves_no_call_without_an_answer(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Incident 110: the proxy held on to the address of a replica that was restarted."""
    monkeypatch.setenv("STAND_IN_DRAIN", "1.5")
    async with running(home) as supervisor, calls_without_a_failure(home):
        for name in ("ai-1", "ai-2.sidecar"):
            supervisor.restart(name)
            await eventually(partial(restarted, supervisor.watches[name]), 30)


async def test_without_a_mesh_services_listen_on_the_loopback_and_have_no_sidecar(
    home: Home,
) -> None:
    async with running(home, mesh=False) as supervisor:
        assert {row.name for row in supervisor.rows()} == EVERYTHING - SIDECARS
        endpoints = read_json(home.endpoints_file)
        for instance in endpoints["instances"].values():
            assert instance["mesh"] == instance["grpc"]
            assert instance["grpc"].startswith("127.0.0.1:")
        status, _ = await get(endpoints["gateway"]["ai"] + "/health")
        assert status == 200
