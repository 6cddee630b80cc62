"""What a check found: well, worth a look, or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OK, LOOK, FAIL = "ok", "look", "FAIL"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: str
    """OK; LOOK when a person should look at it; FAIL when something must be done."""
    told: str
    do: str = ""
    """The command that comes next; empty when nothing is to be done."""


def failed(checks: Sequence[Check]) -> bool:
    """Tell whether anything must be done: the exit code of a check."""
    return any(check.state == FAIL for check in checks)


def told(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """Return the checks for JSON."""
    return [{"check": c.name, "state": c.state, "told": c.told, "do": c.do} for c in checks]
