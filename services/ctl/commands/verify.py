"""`qt verify`: does everything answer as it should?"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import typer

from services.catalog.processes import SERVICES
from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.supervisor.asking import ask
from services.ctl.supervisor.home import Home, read_json

ANSWER_SECONDS = 5.0


def verify(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Check that every process is ready and every health port says so; exit 1 when not.

    Example: qt verify --json
    """
    checks = asyncio.run(_checks(Home(home)))
    lines = [f"{'ok  ' if not why else 'FAIL'} {name} {why}".rstrip() for name, why in checks]
    value = [{"check": name, "ok": not why, "reason": why} for name, why in checks]
    answer(value, "\n".join(lines), as_json)
    if any(why for _, why in checks):
        raise typer.Exit(1)


async def _checks(home: Home) -> list[tuple[str, str]]:
    told = await ask(home, "GET", "/status")
    found = [
        (f"process {row['name']}", row["alert"] or ("" if row["state"] == "ready" else _state(row)))
        for row in told["processes"]
    ]
    gateway = read_json(home.endpoints_file)["gateway"]
    limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=limit) as session:
        for service in SERVICES:
            for path in ("/health", "/ready"):
                url = gateway[service.key] + path
                found.append((f"GET {url}", await _answers(session, url)))
    return found


async def _answers(session: aiohttp.ClientSession, url: str) -> str:
    try:
        async with session.get(url) as told:
            text = await told.text()
            return "" if told.ok else f"{told.status} {text[:200]}"
    except (aiohttp.ClientError, TimeoutError) as error:
        return repr(error)


def _state(row: dict[str, Any]) -> str:
    return f"{row['state']} {row['reason']}".strip()
