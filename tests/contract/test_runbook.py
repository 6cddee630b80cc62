"""Every alert that exec_risk can raise has its heading in the runbook, with what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.exec_risk.core.reconciling.differences import REPORTED

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
PARTS = ("- Means: ", "- Did by itself: ", "- Look at: ", "- Do: ")
REPORTED_BY = "services/exec_risk/core/reconciling/reconcile.py"
"""The one call whose type is made: of a difference that is only reported."""


def calls() -> Iterator[tuple[str, ast.expr]]:
    """Return the file and the type of every alert that is raised."""
    for path in sorted((ROOT / "services" / "exec_risk").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if called == "alert":
                yield name, node.args[1]
            for keyword in node.keywords:
                if keyword.arg == "alert_type" and isinstance(keyword.value, ast.Constant):
                    yield name, keyword.value


def alert_types() -> set[str]:
    found = {f"{kind}_DIFFERS".upper() for kind in REPORTED}
    for name, kind in calls():
        if isinstance(kind, ast.Constant):
            found.add(str(kind.value))
        else:
            assert name == REPORTED_BY, f"{name}: an alert's type is a literal"
    return found | {"UNKNOWN_ORDER"}


def sections() -> dict[str, str]:
    """Return the text under each heading that names an alert type."""
    parts = re.split(r"^#+ (.+)$", RUNBOOK, flags=re.MULTILINE)
    named = zip(parts[1::2], parts[2::2], strict=True)
    return {h.split()[0]: text for h, text in named if re.match(r"[A-Z_]+\b(?: \(|$)", h)}


def test_alerts_are_found() -> None:
    assert {"CORE_EXCEPTION", "POSTGRES_AWAY", "MARGIN_TYPE_DIFFERS"} <= alert_types()


def test_the_runbook_has_no_heading_of_an_alert_that_is_gone() -> None:
    assert sections().keys() <= alert_types()


@pytest.mark.parametrize("kind", sorted(alert_types()))
def test_every_alert_has_its_heading(kind: str) -> None:
    assert kind in sections(), f"docs/runbook.md has no heading `## {kind}`"
    assert [part for part in PARTS if part not in sections()[kind]] == []


def test_every_command_of_the_runbook_exists() -> None:
    source = "".join(p.read_text() for p in (ROOT / "services" / "ctl").rglob("*.py"))
    for command in set(re.findall(r"\bqt ([a-z]+)", RUNBOOK)):
        assert f"def {command}(" in source or f'name="{command}"' in source, command
