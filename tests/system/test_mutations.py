"""Defects are caught: the code with one defect, simulated or tested, must fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.mutation import Mutation
from tests.system.simulated_mutations import SIMULATED
from tests.system.tested_mutations import TESTED

MUTATIONS = SIMULATED + TESTED
SHORT = (
    "nobody asks by the client id after a lost reply",
    "a stop is cancelled, then placed anew",
    "a fill is applied as often as it is told",
    "entries go on while the account is halted",
)
"""Those that are tried in the short form, too."""
ROOT = Path(__file__).resolve().parents[2]
SIMULATION = ("-m", "services.ctl", "simulate", "--hours", "4", "--workers", "1", "--no-shorten")
TESTS = ("-m", "pytest", "-q", "-x", "-p", "no:randomly")
BROKEN = "again: qt simulate"
"""What a simulation prints that found something; one that cannot even start proves nothing."""


def mutated(text: str, mutation: Mutation) -> str:
    """Return a file's text with the defect in it."""
    if mutation.old not in text:
        changed = f"{mutation.file} has changed, so the mutation that {mutation.name!r} must follow"
        raise AssertionError(f"{changed}: there is no\n{mutation.old}")
    return text.replace(mutation.old, mutation.new)


def copied(folder: Path, mutation: Mutation | None = None) -> Path:
    """Copy what the commands need, with the defect when there is one."""
    for name in ("services", "tests", "protos", "gateway", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", ".env.example", "README.md", "Makefile"):
        shutil.copy(ROOT / name, folder / name)
    if mutation is not None:
        file = folder / mutation.file
        file.write_text(mutated(file.read_text(), mutation))
    return folder


def ran(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run python in a copy."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}:{folder / 'protos' / 'gen'}"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def told(done: subprocess.CompletedProcess[str]) -> str:
    """Return the last that a command said."""
    return f"{done.stdout[-3000:]}\n{done.stderr[-2000:]}"


def seeds_of(first: int, count: int) -> tuple[str, ...]:
    """Return the command that simulates these seeds."""
    return (*SIMULATION, "--first-seed", str(first), "--seeds", str(count))


def run(mutation: Mutation, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the simulation or the named tests on a copy with the defect."""
    seeds = seeds_of(mutation.first_seed, mutation.seeds)
    command = (*TESTS, *mutation.tests) if mutation.tests else seeds
    return ran(copied(folder, mutation), *command)


def assert_caught(mutation: Mutation, folder: Path) -> None:
    """Fail when nobody noticed the defect."""
    done = run(mutation, folder)
    assert done.returncode == 1, f"nobody noticed that {mutation.name}\n{told(done)}"
    assert mutation.tests or BROKEN in done.stdout, told(done)


def assert_passes(mutations: list[Mutation], folder: Path) -> None:
    """Fail when a command finds something where nothing was changed."""
    copied(folder)
    tests = sorted({test for m in mutations for test in m.tests})
    first = min(m.first_seed for m in mutations if not m.tests)
    end = max(m.first_seed + m.seeds for m in mutations if not m.tests)
    for command in ((*TESTS, *tests), seeds_of(first, end - first)):
        done = ran(folder, *command)
        assert done.returncode == 0, told(done)


def short() -> list[Mutation]:
    """Return the defects that are tried in the short form."""
    return [m for m in MUTATIONS if m.name in SHORT]


def test_a_defect_whose_place_is_gone_is_told() -> None:
    gone = Mutation(
        "nothing happens", "services/kit/postgres/lease.py", "if not there:", "if there:"
    )
    with pytest.raises(AssertionError, match=r"lease\.py has changed.*must follow"):
        mutated((ROOT / gone.file).read_text(), gone)


def test_every_defect_can_be_tried(tmp_path: Path) -> None:
    """Its place and its tests exist, and it fails for what it does, not for a name it misspells."""
    assert len({m.name for m in MUTATIONS}) == len(MUTATIONS)
    assert set(SHORT) <= {m.name for m in MUTATIONS}
    for number, mutation in enumerate(MUTATIONS):
        text = (ROOT / mutation.file).read_text()
        changed = mutated(text, mutation)
        assert changed != text, mutation.name
        (tmp_path / f"mutation_{number}.py").write_text(changed)
        for test in mutation.tests:
            path, _, name = test.partition("::")
            assert (ROOT / path).is_file(), test
            assert f"def {name}" in (ROOT / path).read_text(), test
    done = ran(tmp_path, "-m", "ruff", "check", "--isolated", "--select", "E9,F821", ".")
    assert done.returncode == 0, told(done)


def test_every_defect_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "simulation.md").read_text()
    assert [m.name for m in MUTATIONS if f"| {m.name} |" not in page] == []


@pytest.mark.timeout(300)
def test_without_a_defect_nothing_is_found(tmp_path: Path) -> None:
    assert_passes(short(), tmp_path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SHORT)
def test_a_defect_is_caught(name: str, tmp_path: Path) -> None:
    assert_caught(next(m for m in MUTATIONS if m.name == name), tmp_path)


@pytest.mark.drill
@pytest.mark.timeout(2000)
def test_no_command_finds_anything_without_a_defect(tmp_path: Path) -> None:
    assert_passes(list(MUTATIONS), tmp_path)


@pytest.mark.drill
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_every_defect_is_caught(mutation: Mutation, tmp_path: Path) -> None:
    assert_caught(mutation, tmp_path)
