"""What a rule is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.exec_risk.core.policy import Policy
from services.exec_risk.core.risk.entry import Entry
from services.exec_risk.core.state import Book


def unlimited(_: Policy) -> str:
    """No number to show."""
    return ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name, its check, and where its limit comes from.

    The name is reason code and metric label. The check returns the sentence of its refusal.
    """

    name: str
    check: Callable[[Entry], str | None]
    limit: Callable[[Policy], str] = unlimited
    unit: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Gate:
    """A rule that needs no entry: while it refuses, it refuses all of them."""

    name: str
    check: Callable[[Book], str | None]
    limit: Callable[[Policy], str] = unlimited
    unit: str = ""
    source: str = ""

    def as_rule(self) -> Rule:
        """Return it as one of the rules that an entry is asked."""
        return Rule(
            self.name, lambda entry: self.check(entry.book), self.limit, self.unit, self.source
        )
