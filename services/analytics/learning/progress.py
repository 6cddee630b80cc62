"""The one row that says how far learning is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.analytics.core.learning.states import Learning
from services.analytics.learning.codec import state_from_json, state_to_json
from services.trade.times import from_datetime, to_datetime

_SAVE = """
update learning_state set judged_until = $1, window_end = $2, samples = $3, unknown = $4,
    runs = $5, drifting = $6, state = $7, active_version = $8, shares_of = $9, indexes = $10
where id = 1
"""


@dataclass(slots=True)
class Progress:
    """How far learning is: the one row, as the replica that learns knows it."""

    judged_until: int = 0
    """Market time up to which all outcomes are known."""
    window_end: int = 0
    """End of the window in which drift is looked for next; 0 before the first."""
    samples: int = 0
    unknown: int = 0
    runs: dict[str, int] = field(default_factory=dict)
    drifting: list[str] = field(default_factory=list)
    """Keys of findings that are drift now."""
    indexes: dict[str, list[float]] = field(default_factory=dict)
    """Stability indexes of the active artifact's windows before, by quantity."""
    state: Learning = field(default_factory=Learning)
    active_version: str = ""
    shares_of: str = ""
    """Artifact for which the policy's shares were made; empty when none were."""


def progress_of(row: Any) -> Progress:
    """Read the one row."""
    return Progress(
        judged_until=_time(row["judged_until"]),
        window_end=_time(row["window_end"]),
        samples=row["samples"],
        unknown=row["unknown"],
        runs=json.loads(row["runs"]),
        drifting=json.loads(row["drifting"]),
        indexes=json.loads(row["indexes"]),
        state=state_from_json(row["state"]),
        active_version=row["active_version"],
        shares_of=row["shares_of"],
    )


async def save_progress(connection: Any, progress: Progress) -> None:
    """Write the row."""
    await connection.execute(
        _SAVE,
        to_datetime(progress.judged_until) if progress.judged_until else None,
        to_datetime(progress.window_end) if progress.window_end else None,
        progress.samples,
        progress.unknown,
        json.dumps(progress.runs),
        json.dumps(progress.drifting),
        state_to_json(progress.state),
        progress.active_version,
        progress.shares_of,
        json.dumps(progress.indexes),
    )


def _time(value: datetime | None) -> int:
    return 0 if value is None else from_datetime(value)
