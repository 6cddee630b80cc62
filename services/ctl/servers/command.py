"""What starts a process, and how it is asked whether it works."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

Probe = Callable[[], Awaitable[None]]
"""Returns when the process works, raises `NotReady` with the reason when it does not."""


class NotReady(Exception):
    """The process does not answer as it should; the text says why."""


class ServerFailed(Exception):
    """The process ended or never became ready; the text is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program, its arguments, environment and where its output goes."""

    arguments: tuple[str, ...]
    log: Path | None
    """None leaves the output where the caller's goes."""
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of the caller."""
    stop_signal: signal.Signals = signal.SIGTERM

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it in a session of its own, its output appended to the log.

        The log is a file, not a pipe, so that the process outlives the one that started it.
        """
        if self.log is None:
            return self._spawn(None)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            return self._spawn(output)

    def _spawn(self, output: IO[bytes] | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.arguments,
            cwd=self.directory,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output and subprocess.STDOUT,
            start_new_session=True,
        )


def last_line(log: Path | None, limit: int = 300) -> str:
    """Return the last line of a log that is not empty, cut to `limit` characters."""
    if log is None or not log.exists():
        return ""
    with log.open("rb") as lines:
        lines.seek(max(0, log.stat().st_size - 8_192))
        text = lines.read().decode(errors="replace")
    written = [line.strip() for line in text.splitlines() if line.strip()]
    return written[-1][:limit] if written else ""
