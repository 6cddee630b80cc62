"""`qt` as an operator types it: one clear line and exit code 2 when something cannot be done."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.testing import CliRunner

from services.ctl.__main__ import app
from services.ctl.commands.table import COMMANDS, group
from services.ctl.servers.free import LOOPBACK, free_port
from services.ctl.supervisor.child import strays


async def qt(*arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.ctl",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, told.decode().strip()


@pytest.mark.parametrize("command", ["ps", "restart ai", "scale ai=3", "pnl", "positions"])
async def test_a_command_without_a_running_system_says_so(tmp_path: Path, command: str) -> None:
    code, told = await qt(*command.split(), f"--home={tmp_path}")
    assert (code, told) == (2, f"qt: nothing runs in {tmp_path}: start it with `qt up`")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--market=/nowhere"], "qt: --market /nowhere: no such folder"),
        (["--pace=slow"], "qt: --pace slow: say lockstep or free"),
        (["--speed=-1"], "qt: --speed -1: must not be below 0"),
        (["--ports=80"], "qt: --ports 80: say default, auto or five numbers"),
        (["--home=/proc/x"], "qt: cannot write /proc/x"),
    ],
)
async def test_a_wrong_option_is_one_line_and_starts_nothing(
    tmp_path: Path, arguments: list[str], line: str
) -> None:
    code, told = await qt("up", f"--home={tmp_path}", *arguments)
    assert code == 2
    assert told.startswith(line) and "\n" not in told
    assert strays(tmp_path, set()) == []


@pytest.mark.parametrize("detach", [[], ["--detach"]])
async def test_a_public_port_in_use_is_one_line_and_starts_nothing(
    tmp_path: Path, detach: list[str]
) -> None:
    taken = free_port()
    with socket.create_server((LOOPBACK, taken)):
        ports = ",".join([str(taken), *(str(free_port()) for _ in range(4))])
        code, told = await qt("up", f"--home={tmp_path}", f"--ports={ports}", *detach)
    assert code == 2
    assert told.startswith(f"qt: in use: port {taken} (ingress)") and "\n" not in told
    assert strays(tmp_path, set()) == []


async def test_down_without_anything_is_no_error_and_wipe_removes_only_a_home(
    tmp_path: Path,
) -> None:
    code, told = await qt("down", f"--home={tmp_path}", "--json")
    assert code == 0 and '"nothing was running"' in told
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").touch()
    code, told = await qt("down", "--wipe", "--yes", f"--home={other}")
    assert code == 2 and "does not look like a home" in told
    assert (other / "precious").exists()


def test_every_command_explains_itself_with_an_example() -> None:
    known = group(COMMANDS).commands
    names = [name for name, command in known.items() if not isinstance(command, TyperGroup)]
    assert len(names) >= 11
    for name in names:
        told = CliRunner().invoke(app, [name, "--help"])
        assert told.exit_code == 0 and "Example: " in told.output, name
