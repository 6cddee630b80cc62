"""`qt stats`: what each process takes of the machine."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.ctl.checks.daily import size
from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.supervisor.home import Home, Refused, read_json

MEASURE_SECONDS = 1.0
WATCH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Use:
    """One unit, with the processes that it started."""

    name: str
    pid: int
    cpu_percent: float
    """Of one core."""
    memory_bytes: int
    """Resident; pages that several processes share are counted for each."""
    threads: int
    open_files: int
    """File descriptors; 0 where the account may not look."""
    processes: int


class Meter:
    """Measures the units of a home between two looks."""

    def __init__(self, home: Home) -> None:
        """Take the first look."""
        self._home = home
        self._known: dict[int, psutil.Process] = {}
        self.look()

    def look(self) -> list[Use]:
        """Return what each took since the last look."""
        found = []
        for name, entry in sorted(read_json(self._home.processes_file).items()):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(self._use(name, int(entry["pid"])))
        return found

    def _use(self, name: str, pid: int) -> Use:
        first = self._process(psutil.Process(pid))
        family = [first, *(self._process(child) for child in first.children(recursive=True))]
        parts = []
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                parts.append(_measured(process))
        sums = [sum(column) for column in zip(*parts, strict=True)] or [0.0, 0, 0, 0]
        cpu, memory, threads, files = sums
        return Use(name, pid, round(cpu, 1), int(memory), int(threads), int(files), len(parts))

    def _process(self, process: psutil.Process) -> psutil.Process:
        """Return the one that was looked at before: it knows how much CPU it had then."""
        known = self._known.get(process.pid)
        if known is None or known != process:
            self._known[process.pid] = known = process
        return known


def _measured(process: psutil.Process) -> tuple[float, float, float, float]:
    with process.oneshot():
        try:
            files = process.num_fds()
        except psutil.AccessDenied:
            files = 0
        cpu = process.cpu_percent()
        return cpu, process.memory_info().rss, process.num_threads(), files


def stats(
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show CPU, memory, threads and open files of each process and of those it started.

    Example: qt stats --watch
    """
    place = Home(home)
    if not read_json(place.processes_file):
        raise Refused(f"nothing runs in {place.root}: start it with `qt up`")
    meter = Meter(place)
    time.sleep(MEASURE_SECONDS)
    found = meter.look()
    if not watch:
        answer([asdict(use) for use in found], table(found), as_json)
        return
    with Live(table(found), console=Console(), auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_SECONDS)
            live.update(table(meter.look()), refresh=True)


def table(found: list[Use]) -> Table:
    """Return the uses with their sum."""
    shown = Table("process", "pid", "cpu %", "memory", "threads", "files", "processes")
    for use in found:
        numbers = (f"{use.cpu_percent:.1f}", size(use.memory_bytes), str(use.threads))
        shown.add_row(use.name, str(use.pid), *numbers, str(use.open_files), str(use.processes))
    total = (sum(u.cpu_percent for u in found), sum(u.memory_bytes for u in found))
    rest = [sum(getattr(u, n) for u in found) for n in ("threads", "open_files", "processes")]
    shown.add_row("all", "", f"{total[0]:.1f}", size(total[1]), *map(str, rest), style="bold")
    return shown
