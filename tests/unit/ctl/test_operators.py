"""What operators do is written down: every command is known as one that changes or reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup

from services.ctl.changes import CHANGES, READS, changing
from services.ctl.commands.table import COMMANDS, group
from services.ctl.operators import WAITING, WRITTEN, record


def commands(held: TyperGroup, before: tuple[str, ...] = ()) -> Iterator[str]:
    for name, command in held.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, (*before, name))
        else:
            yield " ".join((*before, name))


def test_every_command_is_known_as_one_that_changes_or_reads() -> None:
    known = set(commands(group(COMMANDS)))
    assert known <= CHANGES | READS, known - CHANGES - READS
    assert known | {"backup", "reconcile --apply"} >= CHANGES | READS
    assert not CHANGES & READS


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("restart ai --rolling", "restart"),
        ("emergency stop --reason=x --yes", "emergency stop"),
        ("venue fault add silence", "venue fault add"),
        ("backup --to /mnt", "backup"),
        ("backup list", ""),
        ("reconcile", ""),
        ("reconcile --apply", "reconcile --apply"),
        ("state set --help", ""),
        ("ps --json", ""),
        ("", ""),
    ],
)
def test_what_changes_is_told_from_what_reads(line: str, name: str) -> None:
    assert changing(line.split()) == name


def test_who_what_and_why_are_written_and_wait_for_a_bus(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    home = f"--home={tmp_path}"
    record(["ps", home], done=True, outcome="")
    record(["state", "set", "HALTED", "--reason", "odd prices", home], done=True, outcome="")
    record(["restart", "ai", home], done=False, outcome="nothing runs")
    for name in (WRITTEN, WAITING):
        first, second = map(json.loads, (tmp_path / name).read_text().splitlines())
        assert first["command"].startswith("state set HALTED") and first["by"]
        assert (first["reason"], first["done"]) == ("odd prices", True)
        assert (second["done"], second["outcome"]) == (False, "nothing runs")
    assert (tmp_path / WRITTEN).stat().st_mode & 0o077 == 0


def test_nothing_is_written_where_no_system_lives(tmp_path: Path) -> None:
    record(["down", f"--home={tmp_path}"], done=True, outcome="")
    assert list(tmp_path.iterdir()) == []
