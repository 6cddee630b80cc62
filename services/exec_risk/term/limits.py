"""How long a term of leadership waits for others."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from services.exec_risk.term.sender import SenderLimits


@dataclass(frozen=True, slots=True)
class TermLimits:
    """How long the term waits for others, in seconds of wall time."""

    protection_grace: float = 2.0
    exit_deadline: float = 10.0
    """After this long an exit that has not ended is told and looked at again."""
    round_wait_lockstep: float = 30.0
    round_wait_free: float = 2.0
    observed_wait: float = 5.0
    history_candles: int = 500
    reconcile_every: float = 30.0
    """Pause between two comparisons with the exchange."""
    store_patience: float = 1.0
    """How long a decision waits for PostgreSQL before what reduces goes on without it."""
    deposed_after: float = 1.0
    """Half the lease's time-to-live: who slept for so long may have been followed by another."""
    finish: float = 1.0
    """How long a term that shall end may go on with what it has begun."""
    latch_file: Path = Path("/tmp/emergency_latch")  # noqa: S108 - beside drain_mode
    """Where an emergency stop is kept while PostgreSQL does not take it; the account is added."""
    sender: SenderLimits = field(default_factory=SenderLimits)
