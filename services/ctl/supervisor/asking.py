"""How a command reaches the running supervisor: by the file that says where its channel is."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from services.ctl.supervisor.home import Home, Refused, read_json

ANSWER_SECONDS = 5.0
SLOW_SECONDS = 150.0
ROLL_SECONDS = 1_800.0
SLOW = ("/scale", "/restart", "/rebuild", "/start", "/stop/")
OK = 200


class NotRunning(Refused):
    """No supervisor holds the home."""


async def ask(home: Home, method: str, path: str) -> dict[str, Any]:
    """Ask the running supervisor; `NotRunning` when there is none, `Refused` when it refuses."""
    entry = read_json(home.supervisor_file)
    if not entry:
        raise NotRunning(f"nothing runs in {home.root}: start it with `qt up`")
    seconds = SLOW_SECONDS if path.startswith(SLOW) else ANSWER_SECONDS
    limit = aiohttp.ClientTimeout(total=seconds)
    headers = {"Authorization": f"Bearer {entry['token']}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, headers=headers) as session,
            session.request(method, entry["url"] + path) as told,
        ):
            answer: dict[str, Any] = await told.json()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotRunning(
            f"the supervisor of {home.root} does not answer: `qt up` takes over what still runs,"
            " `qt down` stops it"
        ) from error
    if told.status != OK:
        raise Refused(str(answer["error"]))
    return answer


async def ask_steps(home: Home, path: str, on_step: Callable[[str], None]) -> None:
    """Ask for what takes long, telling each step; `Refused` when it ends early, with why."""
    entry = read_json(home.supervisor_file)
    if not entry:
        raise NotRunning(f"nothing runs in {home.root}: start it with `qt up`")
    limit = aiohttp.ClientTimeout(total=ROLL_SECONDS)
    headers = {"Authorization": f"Bearer {entry['token']}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, headers=headers) as session,
            session.post(entry["url"] + path) as told,
        ):
            async for line in told.content:
                step = json.loads(line)
                if "error" in step:
                    raise Refused(str(step["error"]))
                on_step(str(step["step"]))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotRunning(f"the supervisor of {home.root} went away meanwhile: `qt ps`") from error


async def until_stopped(home: Home, seconds: float) -> None:
    """Return when the supervisor has let go of the home."""
    deadline = time.monotonic() + seconds
    while home.supervised():
        if time.monotonic() > deadline:
            raise Refused(f"still stopping after {seconds:.0f} s: `qt down --force` kills")
        await asyncio.sleep(0.1)
