"""Defects are caught: the code with one defect, simulated or tested, must fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.mutations import MUTATIONS, SHORT, Mutation

ROOT = Path(__file__).resolve().parents[2]
SIMULATION = (
    "-m", "services.ctl", "simulate", "--hours", "4", "--workers", "1", "--no-shorten",
)  # fmt: skip


def run(mutation: Mutation, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the simulation or the named tests on a copy with the defect."""
    for name in ("services", "tests", "protos", "gateway", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", ".env.example", "README.md", "Makefile"):
        shutil.copy(ROOT / name, folder / name)
    file = folder / mutation.file
    text = file.read_text()
    assert mutation.old in text, f"{mutation.file} has changed: the mutation must follow"
    file.write_text(text.replace(mutation.old, mutation.new))
    tests = ("-m", "pytest", "-q", "-x", "-p", "no:randomly", *mutation.tests)
    seeds = ("--first-seed", str(mutation.first_seed), "--seeds", str(mutation.seeds))
    return subprocess.run(
        [sys.executable, *(tests if mutation.tests else (*SIMULATION, *seeds))],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}:{folder / 'protos' / 'gen'}"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def assert_caught(mutation: Mutation, folder: Path) -> None:
    done = run(mutation, folder)
    told = f"{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
    assert done.returncode == 1, f"nobody noticed that {mutation.name}\n{told}"
    # a simulation that cannot even start proves nothing
    assert mutation.tests or "again: qt simulate" in done.stdout, told


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SHORT)
def test_a_defect_is_caught(name: str, tmp_path: Path) -> None:
    assert_caught(next(m for m in MUTATIONS if m.name == name), tmp_path)


@pytest.mark.drill
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_every_defect_is_caught(mutation: Mutation, tmp_path: Path) -> None:
    assert_caught(mutation, tmp_path)
