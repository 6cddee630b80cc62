"""The file of an incident: what the operations guide wants to be written down. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from services.ctl.checks.diagnosis import Diagnosis
from services.ctl.logbook.causes import Cause

RESPONSE_MINUTES = {1: 15, 2: 30, 3: 120, 4: 1440}
"""By incident level: a person answers within."""
_LONGEST = 400


def page(
    playbook: str, what: str, time: str, found: Diagnosis, causes: Sequence[Cause] = ()
) -> str:
    """Return the incident file: what failed, the messages, what to do, room for the rest."""
    minutes = RESPONSE_MINUTES[found.level]
    lines = [
        f"# {time}: {what}",
        "",
        f"- Playbook: {playbook}",
        f"- Level: SEV-{found.level}, answered within {minutes} minutes",
        f"- Cause, as far as it was seen: {found.cause}",
        "",
        "## What was seen",
        *(f"- {line}" for line in found.evidence),
        "",
        "## Messages",
        *(f"- {c.count} x {c.service} ({c.level}): `{c.example[:_LONGEST]}`" for c in causes[:10]),
        "",
        "## Steps",
        *(f"- [ ] `{command}`" for command in found.commands),
        "- [ ] `qt verify`",
        "",
        "## Resolution",
        "",
        "## Root cause",
        "",
    ]
    return "\n".join(lines)
