"""Who calls: the subject of the token that the gateway has checked."""

from __future__ import annotations

from typing import Any

SUBJECT_HEADER = "x-token-subject"
"""Set by the gateway from the token's claims; what a caller sends under this name is dropped."""
_LONGEST = 128


def subject_of(context: Any, otherwise: str) -> str:
    """Return the subject of a call's token; `otherwise` for a call that came without one."""
    for key, value in context.invocation_metadata() or ():
        if key == SUBJECT_HEADER and value:
            text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
            return text[:_LONGEST]
    return otherwise
