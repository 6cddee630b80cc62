"""A process that the supervisor started, or that an earlier supervisor left running."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from services.ctl.supervisor.unit import Unit

HOME_MARK = "QT_HOME"
UNIT_MARK = "QT_UNIT"
"""Environment of every child: by it strays are found that no file names."""
START_TOLERANCE = 0.05
LAST_STAGE = 9


@dataclass(slots=True)
class Child:
    """One process, named by pid and start time because pids are used again."""

    pid: int
    started: float
    fingerprint: str
    stage: int = LAST_STAGE
    """Where it stands in the order: the highest stops first."""
    stop_signal: signal.Signals = signal.SIGTERM
    own: subprocess.Popen[bytes] | None = None
    """Set when it is this process's child, whose exit code can be asked."""

    @classmethod
    def spawn(cls, unit: Unit) -> Child:
        """Start the unit's command."""
        own = unit.command.spawn()
        try:
            started = psutil.Process(own.pid).create_time()
        except psutil.NoSuchProcess:
            started = 0.0
        signal_, stage = unit.command.stop_signal, unit.stage
        return cls(own.pid, started, unit.fingerprint, stage, signal_, own)

    @classmethod
    def adopt(cls, entry: Mapping[str, Any]) -> Child | None:
        """Take over what an earlier supervisor wrote down; None when it is gone."""
        child = cls(
            pid=int(entry["pid"]),
            started=float(entry["started"]),
            fingerprint=str(entry["fingerprint"]),
            stage=int(entry["stage"]),
            stop_signal=signal.Signals(int(entry["stop_signal"])),
        )
        return child if child.alive() else None

    def entry(self) -> dict[str, Any]:
        """What is written down so that the next supervisor can adopt it."""
        return {
            "pid": self.pid,
            "started": self.started,
            "fingerprint": self.fingerprint,
            "stage": self.stage,
            "stop_signal": self.stop_signal.value,
        }

    def exit_code(self) -> int | None:
        """None while it runs; -1 when it ended and nobody can know how."""
        if self.own is not None:
            return self.own.poll()
        return None if self.alive() else -1

    def alive(self) -> bool:
        """Tell whether this very process runs."""
        if self.own is not None:
            return self.own.poll() is None
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < START_TOLERANCE
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it still runs."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process and whatever it started, at once."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


def strays(home: Path, known: set[int]) -> list[Child]:
    """Return processes of this home that no file names: started just before a crash."""
    found = []
    for process in psutil.process_iter(["environ", "create_time"]):
        environment = process.info["environ"] or {}
        if environment.get(HOME_MARK) != str(home) or process.pid in known:
            continue
        # Children of a unit share its environment; only the unit itself leads a session.
        if process.pid == os.getpid() or not _leads_session(process.pid):
            continue
        database = environment.get(UNIT_MARK) == "postgres"
        child = Child(process.pid, process.info["create_time"], "")
        child.stage = 0 if database else LAST_STAGE
        child.stop_signal = signal.SIGINT if database else signal.SIGTERM
        found.append(child)
    return found


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


async def end_all(children: Sequence[Child], seconds: float = 8.0) -> None:
    """End processes in order, stage by stage, and those that take too long at once."""
    for stage in sorted({child.stage for child in children}, reverse=True):
        here = [child for child in children if child.stage == stage]
        for child in here:
            child.signal(child.stop_signal)
        deadline = time.monotonic() + seconds
        while any(child.alive() for child in here) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for child in here:
            child.kill()
