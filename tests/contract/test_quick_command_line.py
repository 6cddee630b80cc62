"""`qt` starts quickly: a listing imports no command, a command not what only others need."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest
from typer.core import TyperGroup
from typer.testing import CliRunner

from services.ctl.__main__ import app
from services.ctl.commands.table import COMMANDS, group

HEAVY = {"ccxt", "onnx", "onnxruntime", "lightgbm", "xgboost", "torch", "pandas", "nicegui"}
SERVERS = {"grpc", "nats", "asyncpg", "aiohttp", "opentelemetry", "numpy"}
LISTING = ["--help"]
QUICK = ["health", "logs", "up", "positions"]


def imported(arguments: list[str], **environment: str) -> set[str]:
    """Return the top packages that a command of `qt` has imported when it ends."""
    program = (
        "import sys, atexit;"
        "atexit.register(lambda: print('|'.join({m.partition('.')[0] for m in sys.modules})));"
        "from services.ctl.__main__ import main; sys.argv[0] = 'qt'; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
    )
    assert "sys" in done.stdout, done.stderr
    return set(done.stdout.strip().splitlines()[-1].split("|"))


def test_a_listing_imports_no_command() -> None:
    assert imported(LISTING) & (HEAVY | SERVERS) == set()


def test_a_completion_imports_no_command() -> None:
    asked = {"_QT_COMPLETE": "complete_bash", "COMP_WORDS": "qt he", "COMP_CWORD": "1"}
    assert imported([], **asked) & (HEAVY | SERVERS) == set()


@pytest.mark.parametrize("name", QUICK)
def test_a_command_imports_no_library_of_models_or_exchanges(name: str) -> None:
    assert imported([name, "--help"]) & HEAVY == set()


def test_a_listing_shows_the_first_line_of_each_command() -> None:
    real = group(COMMANDS).commands
    assert {name: place.summary for name, place in COMMANDS.items()} == {
        name: inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ")
        for name, command in real.items()
    }
    told = CliRunner().invoke(app, LISTING, env={"COLUMNS": "200"})
    assert all(f" {name} " in told.output for name in real)
    assert any(isinstance(command, TyperGroup) for command in real.values())
