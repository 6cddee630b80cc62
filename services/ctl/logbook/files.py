"""The files of the logs: those of now, those that were rotated away, and what is added to them."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from services.ctl.logbook.line import Line, lines, service_of
from services.ctl.supervisor.rotation import KEPT

_NEVER = datetime.min.replace(tzinfo=UTC)
Read = Callable[[int], None]
"""Told how many bytes were read since it was told last."""


class Logbook:
    """The logs of one folder."""

    def __init__(self, folder: Path, services: Iterable[str] = ()) -> None:
        """Of these services or instances, of all when none is named."""
        self.folder = folder
        self._services = tuple(services)

    def processes(self) -> list[str]:
        """Return the instances that are meant and have a log."""
        return [
            name
            for name in self.known()
            if not self._services or name in self._services or service_of(name) in self._services
        ]

    def known(self) -> list[str]:
        """Return every instance that has a log."""
        return sorted(log.stem for log in self.folder.glob("*.log"))

    def files(self, process: str, since: datetime | None = None) -> list[Path]:
        """Return the files of an instance, the oldest first, without those that ended before."""
        log = self.folder / f"{process}.log"
        older = [log.with_name(f"{log.name}.{n}") for n in range(KEPT, 0, -1)]
        return [file for file in (*older, log) if file.exists() and _reaches(file, since)]

    def size(self, since: datetime | None = None) -> int:
        """Return how many bytes a whole reading takes."""
        return sum(f.stat().st_size for p in self.processes() for f in self.files(p, since))

    def read(self, since: datetime | None = None, told: Read | None = None) -> Iterator[Line]:
        """Yield the lines of all, by time; of one process as they were written."""
        each = [self._of(process, since, told) for process in self.processes()]
        return (line for _time, _order, line in heapq.merge(*each, key=lambda one: one[:2]))

    def _of(
        self, process: str, since: datetime | None, told: Read | None
    ) -> Iterator[tuple[datetime, str, Line]]:
        latest = _NEVER
        for line in lines(process, self._texts(process, since, told)):
            latest = max(latest, line.time or _NEVER)
            yield latest, process, line

    def _texts(self, process: str, since: datetime | None, told: Read | None) -> Iterator[str]:
        for file in self.files(process, since):
            with file.open("rb") as held:
                for text in held:
                    if told is not None:
                        told(len(text))
                    yield text.decode(errors="replace").rstrip("\r\n")

    def last(self, count: int) -> list[Line]:
        """Return the last lines of each process, by time, without reading the whole."""
        found = [line for p in self.processes() for line in lines(p, self._last(p, count))]
        return sorted(found, key=lambda line: line.time or _NEVER)

    def _last(self, process: str, count: int) -> list[str]:
        texts: deque[str] = deque(maxlen=max(count, 0))
        for file in reversed(self.files(process)):
            missing = max(count, 0) - len(texts)
            if missing <= 0:
                break
            with file.open(errors="replace") as held:
                older = deque((text.rstrip("\n") for text in held), maxlen=missing)
            texts.extendleft(reversed(older))
        return list(texts)


class Follower:
    """What is added to the logs from now on."""

    def __init__(self, book: Logbook) -> None:
        """Start at the ends of the logs as they are."""
        self._book = book
        self._places = {process: self._end(process) for process in book.processes()}

    def fresh(self) -> list[Line]:
        """Return what was added since the last call, also by processes that are new."""
        found: list[Line] = []
        for process in self._book.processes():
            found += lines(process, self._added(process))
        return sorted(found, key=lambda line: line.time or _NEVER)

    def _end(self, process: str) -> int:
        return (self._book.folder / f"{process}.log").stat().st_size

    def _added(self, process: str) -> list[str]:
        log = self._book.folder / f"{process}.log"
        place = self._places.get(process, 0)
        rest = b""
        if log.stat().st_size < place:
            # it was rotated: what came before the cut lies in the copy
            rotated = log.with_name(f"{log.name}.1")
            rest = _after(rotated, place) if rotated.exists() else b""
            place = 0
        text = _after(log, place)
        whole = text[: text.rfind(b"\n") + 1]
        self._places[process] = place + len(whole)
        return (rest + whole).decode(errors="replace").splitlines()


def _after(file: Path, place: int) -> bytes:
    with file.open("rb") as held:
        held.seek(place)
        return held.read()


def _reaches(file: Path, since: datetime | None) -> bool:
    return since is None or file.stat().st_mtime >= since.timestamp()
