"""The four playbooks of the guide: from what was gathered to a cause and a command. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.ctl.checks.daily import NO_DISK, Disk
from services.ctl.logbook.causes import Cause

SLOW_SECONDS = 2.0
"""Of the 95th percentile from candle to signal: the rule HighLatency."""
BUSY_CPU = 85.0
"""Per cent of all cores."""
FULL_MEMORY = 90.0
SLOW_BUS_SECONDS = 0.1
LONG_LINE = 1_000
"""Messages that wait for a consumer."""
WAITING_FOR_DISK = 20.0
"""Per cent of the time in which every core waits for a disk."""
MANY_ERRORS = 10
"""In ten minutes; fewer are looked at, and are no incident."""
_LIMITED = re.compile(r"429|418|rate.?limit|banned|too many requests", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is wrong, why we think so, and what to do next."""

    cause: str
    """In a sentence."""
    area: str
    """In a word: what it lies in; `none` when nothing was found."""
    commands: tuple[str, ...]
    """In this order."""
    level: int
    """Incident level of the guide, 1 to 4; 4 is no incident."""
    evidence: tuple[str, ...] = ()
    """What was seen, one line each."""


class Say(Protocol):
    """Makes a diagnosis with the evidence of its playbook."""

    def __call__(self, cause: str, area: str, *commands: str, level: int = 2) -> Diagnosis:
        """Return it."""
        ...


@dataclass(frozen=True, slots=True)
class Outage:
    """Playbook 1: what was gathered of a service."""

    service: str
    rows: Sequence[Mapping[str, Any]]
    """Rows of all processes; none when no supervisor runs."""
    health: Mapping[str, Mapping[str, Any]]
    causes: Sequence[Cause]
    disk: Disk


@dataclass(frozen=True, slots=True)
class SlowQuery:
    """A statement of the database that runs for long."""

    pid: int
    role: str
    seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Pace:
    """Playbook 2: how fast things are, and what the machine does."""

    signal_seconds: float | None
    """95th percentile from candle to signal since the start; None when none was measured."""
    cpu_percent: float
    """Of all cores."""
    memory_percent: float
    iowait_percent: float
    processes: Mapping[str, float]
    """CPU of one core in per cent, by process."""
    slow: Sequence[SlowQuery] = ()
    bus_seconds: float | None = None
    """Time of one question to JetStream; None when it does not answer."""
    waiting: Mapping[str, int] = field(default_factory=dict)
    """Messages that wait, by consumer."""
    cores: int = 1


@dataclass(frozen=True, slots=True)
class Trouble:
    """Playbook 3: errors of the last minutes and what they may hang on."""

    causes: Sequence[Cause]
    exchange: Mapping[str, Any]
    """`/health` of exec_risk; empty when it does not answer."""
    postgres: bool
    bus: bool


@dataclass(frozen=True, slots=True)
class Books:
    """Playbook 4: the same things as each side has them."""

    differences: Sequence[str] | None
    """Of `qt reconcile`, one line each; None when it did not answer."""
    told: int | None
    """Open positions as exec_risk's health has them."""
    stored: int | None
    """Open positions in the database."""
    dead_letters: int | None
    waiting: int | None
    """Facts that the ledger has not read yet."""


def service_down(seen: Outage) -> Diagnosis:
    """Say why a service is down. Parts that it needs come first: they take others with them."""
    found = tuple(_told(row) for row in seen.rows if row["state"] != "ready")
    errors = tuple(f"{c.count} x {c.cause}" for c in seen.causes[:5])
    evidence = found + errors

    def say(cause: str, area: str, *commands: str, level: int = 2) -> Diagnosis:
        return Diagnosis(cause, area, commands, level, evidence)

    own = [row for row in seen.rows if row["service"] == seen.service]
    if not seen.rows:
        return say("no supervisor runs: the whole system is down", "supervisor", "qt up", level=1)
    if seen.disk.total and seen.disk.free / seen.disk.total < NO_DISK:
        return say("the disk is full", "disk", "qt db archive --older-than 30d", "qt db vacuum")
    for part in ("postgres", "nats"):
        ill = [r for r in seen.rows if r["service"] == part and r["state"] != "ready"]
        if ill and seen.service != part:
            cause = f"{part} is {ill[0]['state']}: {ill[0]['reason']}".rstrip(": ")
            return say(cause, part, f"qt logs {part} --since 15m", f"qt restart {part}")
    if not own:
        return say(f"no {seen.service} runs here", "topology", f"qt up {seen.service}")
    return _of_its_own(seen, own, say)


def _of_its_own(seen: Outage, own: Sequence[Mapping[str, Any]], say: Say) -> Diagnosis:
    name, logs = seen.service, f"qt logs {seen.service} --since 1h --errors"
    failed = [row for row in own if row["state"] == "failed"]
    if failed:
        cause = f"{failed[0]['name']} ended and is not started again: {failed[0]['reason']}"
        return say(cause, "setting", logs, f"qt restart {failed[0]['name']}")
    if looping := [row for row in own if row["alert"]]:
        first = f"; most often {seen.causes[0].cause}" if seen.causes else ""
        cause = f"{looping[0]['name']}: {looping[0]['alert']}{first}"
        return say(cause, "restart loop", logs, f"qt restart {name}")
    ill = [row for row in own if row["state"] != "ready"]
    if ill:
        cause = f"{ill[0]['name']} is {ill[0]['state']}: {ill[0]['reason']}".rstrip(": ")
        return say(cause, "process", logs, f"qt restart {ill[0]['name']}")
    return _answering(seen, name, logs, say)


def _answering(seen: Outage, name: str, logs: str, say: Say) -> Diagnosis:
    told = seen.health.get(name)
    if told is None:
        return say(f"{name} is ready: it is up", "none", "qt ps", level=4)
    if not told and not any(seen.health.values()):
        return say("no health port answers: the gateway", "gateway", "qt restart gateway")
    if not told:
        return say(f"{name} runs and does not answer: it hangs", "hang", f"qt restart {name}")
    if told.get("status") == "healthy":
        return say(f"{name} is healthy: it is up", "none", "qt verify", level=4)
    why = ", ".join(map(str, told.get("reasons") or ["no reason"]))
    next_ = "qt diagnose errors" if "exchange" in why else f"qt restart {name}"
    return say(f"{name} is {told.get('status')}: {why}", "dependency", logs, next_, level=3)


def latency(seen: Pace) -> Diagnosis:
    """Name the bottleneck; the one that makes the others wait comes first."""
    evidence = _pace(seen)
    level = 3 if seen.signal_seconds is not None and seen.signal_seconds > SLOW_SECONDS else 4

    def say(cause: str, area: str, *commands: str) -> Diagnosis:
        return Diagnosis(cause, area, commands, level, evidence)

    if seen.slow:
        worst = max(seen.slow, key=lambda query: query.seconds)
        cause = f"the database: {len(seen.slow)} statements of more than 10 s, of {worst.role}"
        return say(cause, "database", "qt db analyze", "qt db size", "qt logs postgres --since 1h")
    if seen.memory_percent > FULL_MEMORY:
        return say(
            f"memory is full: {seen.memory_percent:.0f} %", "memory", "qt stats", "qt health"
        )
    if seen.iowait_percent > WAITING_FOR_DISK:
        cause = f"disks: cores wait for them {seen.iowait_percent:.0f} % of the time"
        return say(cause, "disk", "qt db vacuum", "qt db archive --older-than 30d")
    if seen.cpu_percent > BUSY_CPU:
        ours = sum(seen.processes.values()) / max(seen.cores, 1)
        if ours < seen.cpu_percent / 2:
            told = f"CPU is saturated by other programs: ours take {ours:.0f} %"
            return say(told, "cpu", "qt stats --watch")
        first = max(seen.processes, key=lambda name: seen.processes[name], default="")
        service = "ai" if first.startswith("ai") else first
        more = ("qt scale ai=3",) if service == "ai" else ("qt stats --watch",)
        return say(f"CPU is saturated, most by {first or 'others'}", "cpu", *more)
    if seen.bus_seconds is None or seen.bus_seconds > SLOW_BUS_SECONDS:
        told = "does not answer" if seen.bus_seconds is None else f"takes {seen.bus_seconds:.2f} s"
        return say(f"the bus {told}", "bus", "qt events info", "qt logs nats --since 15m")
    behind = {name: n for name, n in seen.waiting.items() if n > LONG_LINE}
    if behind:
        name = max(behind, key=lambda key: behind[key])
        more = ("qt scale ai=3",) if name.startswith("ai") else ("qt restart analytics",)
        return say(f"{name} is behind: {behind[name]} messages wait", "consumer", *more)
    if level == 3:
        return say("signals are slow and no part is", "unknown", "qt trace --last-order")
    return say("no bottleneck: signals are fast enough", "none", "qt stats")


def _pace(seen: Pace) -> tuple[str, ...]:
    signal = "none" if seen.signal_seconds is None else f"{seen.signal_seconds:.3f} s"
    bus = "no answer" if seen.bus_seconds is None else f"{seen.bus_seconds * 1000:.1f} ms"
    busy = sorted(seen.processes.items(), key=lambda item: -item[1])[:4]
    return (
        f"candle to signal, 95th percentile since the start: {signal}",
        f"CPU {seen.cpu_percent:.0f} % of all cores, waiting for disks {seen.iowait_percent:.0f} %",
        f"memory {seen.memory_percent:.0f} %",
        "CPU by process: " + ", ".join(f"{name} {cpu:.0f} %" for name, cpu in busy),
        f"one question to the bus: {bus}",
        "waiting: " + (", ".join(f"{k} {v}" for k, v in seen.waiting.items() if v) or "none"),
        *(f"{q.seconds:.0f} s of {q.role} (pid {q.pid}): {q.text}" for q in seen.slow),
    )


def errors(seen: Trouble) -> Diagnosis:
    """Name the source: a part that is away, a rate limit, or the most frequent cause."""
    evidence = tuple(f"{c.count} x {c.service}: {c.cause}" for c in seen.causes[:8])

    def say(cause: str, area: str, *commands: str, level: int = 3) -> Diagnosis:
        return Diagnosis(cause, area, commands, level, evidence)

    if not seen.postgres:
        return say("PostgreSQL does not answer", "postgres", "qt restart postgres", level=2)
    if not seen.bus:
        return say("the bus does not answer", "bus", "qt restart nats", level=2)
    limited = [c for c in seen.causes if _LIMITED.search(f"{c.cause} {c.example}")]
    if limited:
        cause = f"the exchange limits us: {limited[0].cause}"
        slower = 'qt state set REDUCING --reason "rate limit"'
        return say(cause, "rate limit", slower, "qt logs exec_risk --grep '429|418' --since 1h")
    if seen.exchange and not seen.exchange.get("binance_connected"):
        why = ", ".join(map(str, seen.exchange.get("reasons") or [])) or "no reason"
        command = "qt logs exec_risk --grep exchange --since 15m"
        return say(f"the exchange is away: {why}", "exchange", command, level=2)
    if not seen.exchange:
        return say("exec_risk does not answer", "exec_risk", "qt diagnose service-down exec_risk")
    if not seen.causes:
        return say("no error in this time", "none", "qt health", level=4)
    first = seen.causes[0]
    show = f"qt logs {first.service} --since 1h --level error"
    told = f"{first.count} x {first.service}: {first.cause}"
    if sum(cause.count for cause in seen.causes) < MANY_ERRORS:
        return say(told, "code", show, level=4)
    return say(told, "code", show, f"qt restart {first.service}")


def inconsistency(seen: Books) -> Diagnosis:
    """Say whether the books agree; where they do not, entries stop first."""
    evidence = (
        f"open positions: health {_number(seen.told)}, database {_number(seen.stored)}",
        f"dead letters: {_number(seen.dead_letters)}, unread facts: {_number(seen.waiting)}",
        *(seen.differences or ()),
    )
    stop = 'qt state set REDUCING --reason "books differ"'

    def say(cause: str, area: str, *commands: str, level: int = 2) -> Diagnosis:
        return Diagnosis(cause, area, commands, level, evidence)

    if seen.differences is None:
        cause = "the exchange could not be compared with"
        return say(cause, "unknown", stop, "qt diagnose service-down exec_risk")
    if seen.differences:
        again = ("qt reconcile --apply", "qt reconcile", 'qt state set ACTIVE --reason "repaired"')
        return say(f"{len(seen.differences)} differences", "exchange", stop, *again)
    if seen.dead_letters:
        cause = f"{seen.dead_letters} events were not handled"
        return say(cause, "events", "qt dlq list", "qt dlq retry --all", level=3)
    if None not in (seen.told, seen.stored) and seen.told != seen.stored:
        cause = "health and database name another number of positions: ask again in a moment"
        return say(cause, "moment", "qt diagnose inconsistency", level=3)
    if seen.waiting is not None and seen.waiting > LONG_LINE:
        cause = f"the ledger is behind: {seen.waiting} facts wait"
        return say(cause, "ledger", "qt diagnose latency", level=3)
    return say("all books agree", "none", "qt positions", level=4)


def _number(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _told(row: Mapping[str, Any]) -> str:
    return f"{row['name']}: {row['state']} {row['reason']}".strip()
