"""What `qt simulate` shows of seeds that fail."""

from __future__ import annotations

import pytest
from typer import Typer
from typer.testing import CliRunner

from services.lab.simulation import watch
from services.lab.simulation.command import simulate
from services.lab.simulation.plan import RunPlan
from services.lab.simulation.run import simulate as run

SEEDS = range(8)

command = Typer()
command.command()(simulate)


def shown(*options: str) -> tuple[int, str]:
    """Run seeds in this process; return exit code and output."""
    few = ("--seeds", str(len(SEEDS)), "--hours", "3", "--workers", "1", "--no-shorten")
    result = CliRunner().invoke(command, [*few, *options], env={"COLUMNS": "120"})
    return result.exit_code, result.output


def test_it_ends_with_the_first_seed_that_fails_unless_it_is_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert shown()[0] == 0
    # no position may be without a stop even while one is asked for
    monkeypatch.setattr(watch, "LED_GRACE", 0.0)
    failing = [str(seed) for seed in SEEDS if run(RunPlan(seed, 3.0)).failure is not None]
    assert len(failing) > 1
    code, first = shown()
    assert code == 1
    assert f"{int(failing[0]) + 1} seeds" in first
    assert f"again: qt simulate --seed {failing[0]} " in first
    code, every = shown("--go-on")
    assert code == 1
    assert f"{len(SEEDS)} seeds" in every and f"{len(failing)} failed" in every
    rows = [line.split() for line in every.splitlines() if " protected " in line]
    assert [row[1] for row in rows] == failing
