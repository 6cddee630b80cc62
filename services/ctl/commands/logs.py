"""`qt logs`: what the processes wrote, of one time, level, pattern or trace, or by cause."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from services.catalog.processes import process
from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.logbook.causes import Cause, by_cause
from services.ctl.logbook.chosen import BadTime, Wanted, when
from services.ctl.logbook.files import Follower, Logbook
from services.ctl.logbook.line import LEVELS, Line, known_level
from services.ctl.supervisor.home import Home, Refused
from services.ctl.terminal.log_lines import shown

FOLLOW_SECONDS = 0.3
LAST = 50
"""Lines of each process where nothing is asked for."""
MARKED_BYTES = 8 << 20
"""From this size on reading takes seconds, and its progress is shown."""

SinceOption = Annotated[str, typer.Option(help="From then: 1h, 90m, 7d, or 2025-12-02T10:00:00.")]
GrepOption = Annotated[str, typer.Option(help="Only lines in which this pattern is found.")]


def logs(
    services: Annotated[
        list[str] | None, typer.Argument(help="Services or instances; all when absent.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines.")] = False,
    tail: Annotated[int | None, typer.Option(min=0, help="Last lines of each process.")] = None,
    since: SinceOption = "",
    until: Annotated[str, typer.Option(help="Until then, likewise.")] = "",
    level: Annotated[str, typer.Option(help="At least debug, info, warning, error.")] = "",
    grep: GrepOption = "",
    trace: Annotated[str, typer.Option(help="Of this trace id, or how it begins.")] = "",
    errors: Annotated[bool, typer.Option("--errors", help="Count errors by cause.")] = False,
    export: Annotated[Path | None, typer.Option(help="Write them into this file.")] = None,
    timestamps: Annotated[bool, typer.Option(help="Show when.")] = True,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Show the logs of services, or of all, by time; what was rotated away is read too.

    Example: qt logs ai exec_risk --since 1h --level warning
    """
    book = _book(Home(home), services or [])
    wanted = _wanted(since=since, until=until, level=level, grep=grep, trace=trace)
    if errors and (follow or tail is not None):
        raise Refused("--errors counts a span: say --since, not --follow or --tail")
    follower = Follower(book) if follow else None
    if errors:
        causes = by_cause(_read(book, wanted), wanted.level or "error")
        answer([_cause_told(cause) for cause in causes], cause_table(causes), as_json)
        return
    found = _chosen(book, wanted, tail)
    if export is not None:
        count = _export(export, found, as_json)
        answer({"file": str(export), "lines": count}, f"{count} lines in {export}", as_json)
    elif as_json and not follow:
        answer([told(line) for line in found], "", True)
    else:
        _print(found, book, timestamps, as_json)
    while follower is not None:
        time.sleep(FOLLOW_SECONDS)
        fresh = [line for line in follower.fresh() if wanted.takes(line)]
        _print(fresh, book, timestamps, as_json)


def _book(home: Home, services: Sequence[str]) -> Logbook:
    book = Logbook(home.logs, [_key(name) for name in services])
    for name in services:
        if not Logbook(home.logs, [_key(name)]).processes():
            known = ", ".join(book.known()) or "no logs yet"
            raise Refused(f"no log of {name} in {home.logs}: {known}")
    if not book.processes():
        raise Refused(f"no log of anything in {home.logs}: no logs yet")
    return book


def _key(name: str) -> str:
    """Take the guide's names too: `ai-service` is `ai`."""
    try:
        return process(name).key
    except KeyError:
        return name


def _wanted(*, since: str, until: str, level: str, grep: str, trace: str) -> Wanted:
    now = datetime.now(UTC)
    severe = known_level(level) if level else ""
    if level and severe == "info" and level.lower() != "info":
        raise Refused(f"--level {level}: say one of {', '.join(LEVELS)}")
    try:
        return Wanted(
            since=when(since, now) if since else None,
            until=when(until, now) if until else None,
            level=severe,
            pattern=re.compile(grep) if grep else None,
            trace=trace,
        )
    except BadTime as error:
        raise Refused(str(error)) from None
    except re.error as error:
        raise Refused(f"--grep {grep}: {error}") from None


def _chosen(book: Logbook, wanted: Wanted, tail: int | None) -> Iterable[Line]:
    if wanted.everything:
        return book.last(LAST if tail is None else tail)
    found = _read(book, wanted)
    if tail is None:
        return found
    last: dict[str, deque[Line]] = defaultdict(lambda: deque(maxlen=tail))
    for line in found:
        last[line.process].append(line)
    kept = [line for lines in last.values() for line in lines]
    return sorted(kept, key=lambda line: line.time or datetime.min.replace(tzinfo=UTC))


def _read(book: Logbook, wanted: Wanted) -> Iterator[Line]:
    """Yield what is wanted; what takes its time says how far it is."""
    size = book.size(wanted.since)
    with Progress(
        console=Console(stderr=True), transient=True, disable=size < MARKED_BYTES
    ) as progress:
        task = progress.add_task("reading the logs", total=size)
        for line in book.read(wanted.since, lambda n: progress.advance(task, n)):
            if wanted.takes(line):
                yield line


def _print(found: Iterable[Line], book: Logbook, timestamps: bool, as_json: bool) -> None:
    named = len(book.processes()) > 1
    for line in found:
        typer.echo(json.dumps(told(line)) if as_json else shown(line, named, timestamps))


def _export(file: Path, found: Iterable[Line], as_json: bool) -> int:
    count = 0
    try:
        with file.open("w") as out:
            for line in found:
                text = json.dumps(told(line)) if as_json else f"{line.process:<18} {line.text}"
                out.write(f"{text}\n")
                count += 1
    except OSError as error:
        raise Refused(f"cannot write {file}: {error.strerror}") from error
    return count


def told(line: Line) -> dict[str, Any]:
    """Return the line for JSON."""
    return {
        "time": line.time.isoformat() if line.time else None,
        "process": line.process,
        "level": line.level,
        "event": line.event,
        "trace_id": line.trace_id,
        "fields": dict(line.fields),
        "text": line.text,
    }


def _cause_told(cause: Cause) -> dict[str, Any]:
    return {
        "service": cause.service,
        "cause": cause.cause,
        "count": cause.count,
        "level": cause.level,
        "first": cause.first.isoformat() if cause.first else None,
        "last": cause.last.isoformat() if cause.last else None,
        "processes": list(cause.processes),
        "example": cause.example,
    }


def cause_table(causes: Sequence[Cause]) -> Table | str:
    """Return causes as people read them."""
    if not causes:
        return "no error"
    table = Table("count", "level", "service", "cause", "first", "last")
    for cause in causes:
        times = [f"{t:%m-%d %H:%M:%S}" if t else "" for t in (cause.first, cause.last)]
        table.add_row(str(cause.count), cause.level, cause.service, cause.cause, *times)
    return table
