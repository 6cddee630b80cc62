"""One line of a log, whichever program wrote it. Pure: text in, values out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

LEVELS = ("debug", "info", "warning", "error", "critical")
FAILED = frozenset({"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "DATA_LOSS"})
"""gRPC codes that are the callee's fault, as the rule HighErrorRate counts them."""
_WORDS = {
    "trace": "debug", "dbg": "debug", "trc": "debug",
    "inf": "info", "log": "info", "notice": "info", "statement": "info", "detail": "info",
    "hint": "info", "context": "info",
    "warn": "warning", "wrn": "warning",
    "err": "error", "exception": "error",
    "fatal": "critical", "ftl": "critical", "panic": "critical",
}  # fmt: skip
_STANDARD = ("event", "level", "timestamp", "time", "service", "instance", "logger")
_WRITTEN = re.compile(r"(\w+)=('[^']*'|\"[^\"]*\"|\S+)")


@dataclass(frozen=True, slots=True)
class Line:
    """What a process said at one time."""

    process: str
    """Instance whose log it is, for example `ai-1` or `postgres`."""
    time: datetime | None
    """UTC; that of the line before when it has none of its own, None when there is no such line."""
    level: str
    """One of LEVELS."""
    event: str
    """Name of what happened, or the text of a program that has no names for it."""
    text: str
    """The line as it was written."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What else it says."""

    @property
    def trace_id(self) -> str:
        """The trace during which it was written; empty when it names none."""
        told = self.fields.get("trace_id") or self.fields.get("trace")
        if told:
            return str(told)
        parts = str(self.fields.get("traceparent") or "").split("-")
        return parts[1] if len(parts) == 4 else ""


def parse(process: str, text: str) -> Line | None:
    """Return the line; None when it does not say when it was written: it goes on with another."""
    for reader in _READERS:
        found = reader(process, text)
        if found is not None:
            return found
    return None


def lines(process: str, texts: Iterable[str]) -> Iterator[Line]:
    """Yield the lines of one log; what has no time of its own takes the time before it."""
    time: datetime | None = None
    level = "info"
    for text in texts:
        found = parse(process, text)
        if found is None:
            # a traceback belongs to the line above it, and is as severe
            inside = text[:1].isspace() and time is not None
            found = Line(process, time, level if inside else _level_of(text), text.strip(), text)
        time, level = found.time, found.level
        yield found


def service_of(process: str) -> str:
    """Return the service of an instance: `ai` of `ai-1`, `ai.sidecar` of `ai-1.sidecar`."""
    instance, dot, rest = process.partition(".")
    name, _, number = instance.rpartition("-")
    return (name if name and number.isdigit() else instance) + dot + rest


def known_level(word: str) -> str:
    """Return the level that a program calls so; `info` for one that nobody knows."""
    lower = word.strip().lower()
    return lower if lower in LEVELS else _WORDS.get(lower, "info")


def _level_of(text: str) -> str:
    first = re.match(r"(?:\w+\.)*(\w*(?:Error|Exception))\b|(Traceback)", text)
    return "error" if first else "info"


def _json(process: str, text: str) -> Line | None:
    if not text.startswith("{"):
        return None
    try:
        told = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    time = moment(str(told.get("timestamp") or told.get("time") or ""))
    if time is None:
        return None
    rest = {k: v for k, v in told.items() if k not in _STANDARD and v is not None}
    event = str(told.get("event") or "")
    level = known_level(str(told["level"])) if "level" in told else _call_level(told)
    return Line(process, time, level, event, text, rest)


def _call_level(told: Mapping[str, Any]) -> str:
    """Return the level of a proxy's line about a call."""
    if told.get("event") == "call_failed":
        return "warning"
    code = told.get("code")
    failed = isinstance(code, int) and code >= 500
    return "error" if failed or told.get("grpc") in FAILED else "info"


def _console(process: str, text: str) -> Line | None:
    """Read `2026-11-23 02:58:29 [info     ] migration_applied  name=value`."""
    found = re.match(r"(\d{4}-\d\d-\d\d[ T][\d:.]+Z?) \[(\w+) *\] (.*)", text)
    if found is None:
        return None
    event, _, rest = found[3].partition(" ")
    told = {name: value.strip("'\"") for name, value in _WRITTEN.findall(rest)}
    return _made(process, found[1], found[2], event, text, told)


def _postgres(process: str, text: str) -> Line | None:
    """Read `2026-11-23 02:58:11.905 UTC [3414] role@database ERROR:  text`."""
    found = re.match(r"(\d{4}-\d\d-\d\d [\d:.]+) UTC \[\d+\] (?:(\S+) )?([A-Z]+): +(.*)", text)
    if found is None:
        return None
    role = {"role": found[2]} if found[2] else {}
    return _made(process, found[1], found[3], found[4], text, role)


def _nats(process: str, text: str) -> Line | None:
    """Read `[2719] 2026/11/23 02:57:52.526447 [INF] text`."""
    found = re.match(r"\[\d+\] (\d{4})/(\d\d)/(\d\d) ([\d:.]+) \[(\w+)\] (.*)", text)
    if found is None:
        return None
    when = f"{found[1]}-{found[2]}-{found[3]} {found[4]}"
    return _made(process, when, found[5], found[6].strip(), text, {})


def _envoy(process: str, text: str) -> Line | None:
    """Read `[2026-11-23 03:41:50.323][2995][warning][main] [source/server.cc:1028] text`."""
    found = re.match(
        r"\[(\d{4}-\d\d-\d\d [\d:.]+)\]\[\d+\]\[(\w+)\]\[(\w+)\] (?:\[\S+\] )?(.*)", text
    )
    if found is None:
        return None
    return _made(process, found[1], found[2], found[4], text, {"part": found[3]})


def _stamped(process: str, text: str) -> Line | None:
    """Read `2026-11-23T02:57:52Z text`, as the supervisor writes."""
    found = re.match(r"(\d{4}-\d\d-\d\dT[\d:.]+Z) +(.*)", text)
    if found is None:
        return None
    alert = " ALERT " in f" {found[2]} " and not found[2].endswith("ALERT is over")
    level = "error" if alert else "info"
    return _made(process, found[1], level, found[2], text, {})


_READERS: tuple[Callable[[str, str], Line | None], ...] = (
    _json,
    _console,
    _postgres,
    _nats,
    _envoy,
    _stamped,
)


def _made(
    process: str, when: str, level: str, event: str, text: str, told: Mapping[str, Any]
) -> Line | None:
    time = moment(when)
    return None if time is None else Line(process, time, known_level(level), event, text, told)


def moment(text: str) -> datetime | None:
    """Return the time in UTC; one without a zone is UTC; None when it is not a time."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
