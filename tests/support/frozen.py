"""A server that hangs: stopped by a signal, and each that is started in its place too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

import psutil

from services.ctl.supervisor.home import read_json
from tests.support.stack import Stack

LOOK_SECONDS = 0.02


@contextlib.asynccontextmanager
async def frozen(stack: Stack, name: str) -> AsyncIterator[None]:
    """Hold still whatever runs under this name, until the end of the `async with`."""
    held: set[int] = set()

    async def hold() -> None:
        while True:
            entry = read_json(stack.home.processes_file).get(name)
            if entry and int(entry["pid"]) not in held:
                held.update(_stop(int(entry["pid"])))
            await asyncio.sleep(LOOK_SECONDS)

    holding = asyncio.create_task(hold(), name=f"hold {name}")
    try:
        yield
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        for pid in held:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _stop(pid: int) -> set[int]:
    """Stop a process and those it started; return their ids."""
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return set()
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()
    return {process.pid for process in family}
