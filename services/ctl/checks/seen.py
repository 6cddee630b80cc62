"""Gathers what a running system says of itself; what does not answer is seen as silent."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from services.catalog.processes import SERVICES
from services.ctl.checks.daily import Disk, Seen
from services.ctl.logbook.causes import Cause, by_cause
from services.ctl.logbook.files import Logbook
from services.ctl.supervisor.asking import ask
from services.ctl.supervisor.home import Home, Refused, read_json

ANSWER_SECONDS = 5.0


async def daily(home: Home, backups: Path, told: Callable[[str], None]) -> Seen:
    """Look at everything that the morning's check names; `told` hears what is looked at."""
    told("processes")
    rows = await processes(home)
    told("health")
    health = await services(home)
    told("logs")
    causes = errors(home, hours=24)
    told("disk")
    return Seen(
        processes=rows,
        health=health,
        causes=causes,
        disk=disk(home),
        backups=_is_folder(backups),
        backup_hours=newest_hours(backups),
        dashboards=dashboards(home),
    )


async def processes(home: Home) -> list[Mapping[str, Any]]:
    """Return the supervisor's rows; none when it does not run."""
    try:
        status = await ask(home, "GET", "/status")
    except Refused:
        return []
    return list(status["processes"])


async def services(home: Home) -> dict[str, Mapping[str, Any]]:
    """Return `/health` of each service by its key; empty for one that does not answer."""
    doors = read_json(home.endpoints_file).get("gateway", {})
    return {s.key: await answer(f"{doors.get(s.key, '')}/health") for s in SERVICES}


async def answer(url: str) -> Mapping[str, Any]:
    """GET a JSON object; empty when there is none."""
    limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as told:
            found = await told.json(content_type=None) if told.ok else {}
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


async def text(url: str) -> str:
    """GET a text; empty when there is none."""
    limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as told:
            return await told.text() if told.ok else ""
    except (aiohttp.ClientError, TimeoutError):
        return ""


def errors(home: Home, *, hours: float, services: tuple[str, ...] = ()) -> list[Cause]:
    """Return the errors that the logs hold of the last hours, by cause."""
    since = datetime.now(UTC) - timedelta(hours=hours)
    lines = Logbook(home.logs, services).read(since)
    return by_cause(line for line in lines if line.time is not None and line.time >= since)


def disk(home: Home) -> Disk:
    """Return the room where the home lies."""
    place = home.root if home.root.exists() else home.root.parent
    room = shutil.disk_usage(place)
    return Disk(total=room.total, free=room.free, home=_taken(home.root))


def _taken(folder: Path) -> int:
    total = 0
    for path, _folders, files in os.walk(folder):
        for name in files:
            # a file may go while the folder is walked
            with contextlib.suppress(OSError):
                total += Path(path, name).lstat().st_size
    return total


def _is_folder(path: Path) -> bool:
    return path.is_dir()


def newest_hours(folder: Path) -> float | None:
    """Return the age of the newest backup in the folder; None when it holds none."""
    found = [file.stat().st_mtime for file in folder.glob("**/quantum_trader_*")]
    return (time.time() - max(found)) / 3600 if found else None


def dashboards(home: Home) -> dict[str, str]:
    """Return where people look at this system."""
    endpoints = read_json(home.endpoints_file)
    named = {"metrics": "metrics_told", "traces": "traces_told"}
    return {name: str(endpoints[key]) for name, key in named.items() if endpoints.get(key)}
