"""The rules that an entry must pass, in the one order in which they are asked.

Exits are never asked. Each rule has a name (reason code and metric label), its limit, and a check
that returns the sentence of its refusal. What is missing or stale refuses.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.exec_risk.core.risk.entry import Entry
from services.exec_risk.core.rules.account import ACCOUNT
from services.exec_risk.core.rules.advice import ADVICE
from services.exec_risk.core.rules.fund import FUND
from services.exec_risk.core.rules.gates import GATES, blocked_by
from services.exec_risk.core.rules.market import MARKET
from services.exec_risk.core.rules.rule import Rule
from services.exec_risk.core.rules.size import SIZE

__all__ = ["APPROVED", "RULES", "Rule", "Verdict", "blocked_by", "judge"]

APPROVED = "approved"
RULES: tuple[Rule, ...] = (
    *(gate.as_rule() for gate in GATES),
    *ADVICE,
    *MARKET,
    *FUND,
    *ACCOUNT,
    *SIZE,
)
"""All rules in the order in which they are asked."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules said; `rule` is the one that decided."""

    approved: bool
    rule: str
    reason: str


def judge(entry: Entry) -> Verdict:
    """Ask the rules in order; the first refusal decides."""
    for rule in RULES:
        refusal = rule.check(entry)
        if refusal is not None:
            return Verdict(False, rule.name, refusal)
    found = entry.sized()
    return Verdict(
        True,
        APPROVED,
        f"{found.quantity} for {found.notional} USD at {entry.leverage} times leverage",
    )
