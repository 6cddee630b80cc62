"""Errors grouped by their cause: what is the same but for ids, numbers and times. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from services.ctl.logbook.line import LEVELS, Line, service_of

_REASONS = ("error", "reason", "why", "exception", "exc_info", "effect")
_CHANGING = (
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}\b"), "<id>"),
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b"), "<id>"),
    (re.compile(r"\b(sig|pos|ord|exe)-[\w-]+"), r"\1-<id>"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z|\+00:00)?"), "<time>"),
    (re.compile(r"(?<![A-Za-z])\d+(?:[.:]\d+)*"), "#"),
)
_LONGEST = 160


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause and what came of it."""

    service: str
    """Processes of one service share a cause: the instance without its number."""
    cause: str
    """Event and reason, with what changes from line to line left out."""
    count: int
    level: str
    """The most severe of them."""
    first: datetime | None
    last: datetime | None
    processes: tuple[str, ...]
    example: str
    """The last of these lines, as it was written."""


def same(text: str) -> str:
    """Return the text without what changes from one time to the next."""
    for pattern, instead in _CHANGING:
        text = pattern.sub(instead, text)
    return text[:_LONGEST].strip()


def cause_of(line: Line) -> str:
    """Return what the line complains about."""
    parts = [line.event]
    path = line.fields.get("grpc_path") or line.fields.get("path")
    if line.event in ("call", "call_failed") and path:
        parts.append(str(path).partition("?")[0])
        parts += [str(line.fields[k]) for k in ("grpc", "code") if k in line.fields][:1]
    for name in _REASONS:
        if line.fields.get(name):
            told = str(line.fields[name]).strip().splitlines()
            # the last line of a traceback names the exception
            parts.append(told[-1] if told else "")
            break
    return same(": ".join(part for part in parts if part))


def by_cause(found: Iterable[Line], at_least: str = "error") -> list[Cause]:
    """Return the causes of lines that are severe enough, the most frequent first."""
    least = LEVELS.index(at_least)
    causes: dict[tuple[str, str], Cause] = {}
    for line in found:
        if LEVELS.index(line.level) < least:
            continue
        key = (service_of(line.process), cause_of(line))
        causes[key] = _with(causes.get(key), line, key)
    return sorted(causes.values(), key=lambda c: (-c.count, c.service, c.cause))


def _with(known: Cause | None, line: Line, key: tuple[str, str]) -> Cause:
    if known is None:
        return Cause(*key, 1, line.level, line.time, line.time, (line.process,), example=line.text)
    times = [t for t in (known.first, known.last, line.time) if t is not None]
    newest = line.time is None or known.last is None or line.time >= known.last
    return replace(
        known,
        count=known.count + 1,
        level=max(known.level, line.level, key=LEVELS.index),
        first=min(times, default=None),
        last=max(times, default=None),
        processes=tuple(sorted({*known.processes, line.process})),
        example=line.text if newest else known.example,
    )
