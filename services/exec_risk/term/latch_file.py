"""An emergency stop that PostgreSQL has not taken yet, on disk, so that a restart knows of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from services.exec_risk.core.facts import Latch
from services.kit.observe.logs import get_logger

log = get_logger(__name__)


class LatchFile:
    """One file of one account. It exists only while the latch is written nowhere else."""

    def __init__(self, path: Path, account: str) -> None:
        self._path = path.with_name(f"{path.name}.{account}")

    def write(self, latch: Latch) -> None:
        """Keep the latch; when the disk refuses too it is told, and the memory has it."""
        text = json.dumps(
            {
                "reason": latch.reason,
                "by": latch.by,
                "time": latch.time,
                "request_id": latch.request_id,
            }
        )
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            log.critical("latch_not_on_disk", path=str(self._path), error=str(error))
        else:
            log.critical("latch_on_disk", path=str(self._path), reason=latch.reason)

    def read(self) -> Latch | None:
        """Return what is kept. What cannot be read is a latch all the same."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            return Latch(f"{self._path} cannot be read: {error}", "unknown", 0)
        try:
            found = json.loads(text)
            return Latch(
                str(found["reason"]),
                str(found["by"]),
                int(found["time"]),
                str(found["request_id"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            return Latch(f"{self._path} makes no sense: {error}", "unknown", 0)

    def remove(self) -> None:
        """Forget it: PostgreSQL has it."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.error("latch_file_stays", path=str(self._path), error=str(error))
