"""Keeps logs small: a log that grew too long is copied aside and emptied in place."""

from __future__ import annotations

import shutil
from pathlib import Path

LARGEST_BYTES = 20 << 20
KEPT = 3


def rotate(folder: Path, largest: int = LARGEST_BYTES) -> list[Path]:
    """Rotate every log above the size and return them.

    The process keeps its open file: it appends, so that after the cut it goes on at the start.
    """
    grown = [log for log in folder.glob("*.log") if log.stat().st_size > largest]
    for log in grown:
        for number in range(KEPT - 1, 0, -1):
            older = log.with_name(f"{log.name}.{number}")
            if older.exists():
                older.replace(log.with_name(f"{log.name}.{number + 1}"))
        shutil.copyfile(log, log.with_name(f"{log.name}.1"))
        with log.open("r+b") as open_log:
            open_log.truncate(0)
    return grown
