"""The morning's check: what was seen of a system, judged. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.ctl.checks.verdict import FAIL, LOOK, OK, Check
from services.ctl.logbook.causes import Cause

LOW_DISK, NO_DISK = 0.10, 0.05
"""Free share of a disk below which a person should look, and must do something."""
OLD_BACKUP_HOURS = 26.0
"""A daily backup that is older was missed."""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Disk:
    """Room where the data lies."""

    total: int
    free: int
    home: int
    """Bytes of the home itself."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a running system."""

    processes: Sequence[Mapping[str, Any]]
    """Rows of the supervisor: name, state, reason, alert; none when nothing runs."""
    health: Mapping[str, Mapping[str, Any]]
    """`/health` of each service by its key; empty for one that did not answer."""
    causes: Sequence[Cause]
    disk: Disk
    backup_hours: float | None = None
    """Age of the newest backup; None when there is none."""
    backups: bool = False
    """Whether a folder of backups exists."""
    dashboards: Mapping[str, str] = field(default_factory=dict)
    """Where people look, by name."""


def judge(seen: Seen) -> list[Check]:
    """Return every check, in the order of the operations guide."""
    checks = [_processes(seen.processes)]
    checks += [_service(key, told) for key, told in seen.health.items()]
    checks += [_errors(seen.causes), *_account(seen.health.get("exec_risk") or {})]
    checks += [_disk(seen.disk), *_backups(seen)]
    checks += [Check(name, OK, where) for name, where in seen.dashboards.items()]
    return checks


def _processes(rows: Sequence[Mapping[str, Any]]) -> Check:
    if not rows:
        return Check("processes", FAIL, "nothing runs here", "qt up")
    ill = [row for row in rows if row["state"] != "ready"]
    if ill:
        named = ", ".join(f"{r['name']} {r['state']} {r['reason']}".strip() for r in ill)
        return Check("processes", FAIL, named, f"qt logs {ill[0]['name']} --errors")
    alerts = [f"{row['name']}: {row['alert']}" for row in rows if row["alert"]]
    if alerts:
        return Check("processes", FAIL, "; ".join(alerts), "qt ps")
    restarts = sum(int(row.get("restarts", 0)) for row in rows)
    told = f"{len(rows)} ready"
    if restarts:
        return Check("processes", LOOK, f"{told}, {restarts} restarts", "qt ps")
    return Check("processes", OK, told)


def _service(key: str, health: Mapping[str, Any]) -> Check:
    status = str(health.get("status") or "")
    if not status:
        return Check(key, FAIL, "does not answer", f"qt diagnose service-down {key}")
    reasons = ", ".join(map(str, health.get("reasons") or []))
    hours = float(health.get("uptime_seconds") or 0) / 3600
    if status == "healthy":
        return Check(key, OK, f"healthy, up {hours:.1f} h")
    state = LOOK if status in ("degraded", "starting") else FAIL
    return Check(key, state, f"{status}: {reasons}".rstrip(": "), "qt health")


def _errors(causes: Sequence[Cause]) -> Check:
    name = "errors of 24 h"
    if not causes:
        return Check(name, OK, "none")
    count = sum(cause.count for cause in causes)
    first = "; ".join(f"{c.count} x {c.service}: {c.cause}" for c in causes[:_SHOWN])
    worst = any(cause.level == "critical" for cause in causes)
    told = f"{count} of {len(causes)} causes: {first}"
    return Check(name, FAIL if worst else LOOK, told, "qt logs --since 24h --errors")


def _account(health: Mapping[str, Any]) -> list[Check]:
    if not health:
        return [Check("exchange", FAIL, "exec_risk does not say", "qt diagnose service-down")]
    connected = bool(health.get("binance_connected"))
    exchange = Check(
        "exchange",
        OK if connected else FAIL,
        f"{health.get('venue', '')}, {'connected' if connected else 'not connected'}",
        "" if connected else "qt diagnose errors",
    )
    told = f"{health.get('open_positions', 0)} open positions, {money(health)} USD today"
    account = [exchange, Check("account", OK, told)]
    blocked = str(health.get("entries_blocked_by") or "")
    if health.get("emergency_latched"):
        account.append(Check("entries", FAIL, "emergency stop", "qt emergency reset --help"))
    elif blocked:
        account.append(Check("entries", LOOK, f"blocked by {blocked}", "qt state --help"))
    return account


def money(health: Mapping[str, Any]) -> str:
    """Return the day's profit."""
    return f"{float(health.get('daily_pnl') or 0):+.2f}"


def _disk(disk: Disk) -> Check:
    free = disk.free / disk.total if disk.total else 0.0
    state = FAIL if free < NO_DISK else LOOK if free < LOW_DISK else OK
    told = f"{size(disk.free)} free of {size(disk.total)}, the home takes {size(disk.home)}"
    return Check("disk", state, told, "" if state == OK else "qt db archive --older-than 30d")


def _backups(seen: Seen) -> list[Check]:
    if not seen.backups:
        return []
    if seen.backup_hours is None:
        return [Check("backup", LOOK, "none yet", "qt backup")]
    late = seen.backup_hours > OLD_BACKUP_HOURS
    told = f"the newest is {seen.backup_hours:.1f} h old"
    return [Check("backup", LOOK if late else OK, told, "qt backup" if late else "")]


def size(count: float) -> str:
    """Return bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
