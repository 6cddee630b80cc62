"""Commands on the running processes: ps, down, restart, scale."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from typing import Annotated

import typer
from rich.console import Console, Group

from services.ctl.commands.options import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    YesOption,
    answer,
    confirm,
)
from services.ctl.supervisor.asking import ask, until_stopped
from services.ctl.supervisor.child import Child, end_all, strays
from services.ctl.supervisor.home import Home, Refused, read_json
from services.ctl.supervisor.selection import keys
from services.ctl.terminal import tables

STOP_SECONDS = 40.0


def ps(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show the processes: state, address, restarts.

    Example: qt ps --json
    """
    told = asyncio.run(ask(Home(home), "GET", "/status"))
    table = tables.processes(told["processes"], f"Quantum Trader: {told['phase']}")
    answer(told, Group(table, *tables.alerts(told["processes"])), as_json)


def scale(
    replicas: Annotated[str, typer.Argument(help="SERVICE=COUNT, for example ai=3.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Change how many replicas of a service run; it is remembered.

    Example: qt scale ai=3
    """
    name, _, count = replicas.partition("=")
    if not count.isdigit():
        raise Refused(f"{replicas}: say SERVICE=COUNT, for example ai=3")
    told = asyncio.run(ask(Home(home), "POST", f"/scale/{name}/{count}"))
    answer(told, f"{told['service']} runs {told['replicas']} replicas", as_json)


def down(
    services: Annotated[
        list[str] | None,
        typer.Argument(help="Parts, for example ai; everything when none is named."),
    ] = None,
    wipe: Annotated[bool, typer.Option("--wipe", help="Also remove all data.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Kill what does not stop.")] = False,
    yes: YesOption = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Stop everything in order, or the named parts while the others go on; the data stays.

    Example: qt down --wipe --yes, or: qt down ai
    """
    place = Home(home)
    if services:
        _stop_some(place, services, everything=wipe or force, as_json=as_json)
        return
    if wipe:
        confirm(f"remove all data of {place.root}", yes=yes)
    stopped = asyncio.run(_stop(place, force))
    if wipe and place.root.exists():
        _wipe(place)
    done = "removed" if wipe else "stopped" if stopped else "nothing was running"
    answer({"result": done, "home": str(place.root)}, f"{done}: {place.root}", as_json)


def _stop_some(home: Home, services: list[str], *, everything: bool, as_json: bool) -> None:
    if everything:
        raise Refused("--wipe and --force are for the whole system: name no part")
    keys(services)
    with Console(stderr=True).status("stopping"):
        told = asyncio.run(ask(home, "POST", f"/stop/{','.join(services)}"))
    answer(told, f"stopped {', '.join(told['stopped'])}", as_json)


async def _stop(home: Home, force: bool) -> bool:
    supervisor = read_json(home.supervisor_file)
    held = home.supervised()
    if held:
        try:
            await ask(home, "POST", "/stop")
            await until_stopped(home, STOP_SECONDS)
        except Refused:
            if not force:
                raise
            if supervisor:
                _kill_supervisor(int(supervisor["pid"]))
    left = _left(home)
    await end_all(left)
    home.processes_file.unlink(missing_ok=True)
    home.supervisor_file.unlink(missing_ok=True)
    return held or bool(left)


def _left(home: Home) -> list[Child]:
    """Return what runs without a supervisor."""
    entries = read_json(home.processes_file)
    adopted = [Child.adopt(entry) for entry in entries.values()]
    known = [child for child in adopted if child is not None]
    return [*known, *strays(home.root, {child.pid for child in known})]


def _kill_supervisor(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _wipe(home: Home) -> None:
    marks = (home.run, home.root / "market.json")
    if not any(mark.exists() for mark in marks):
        raise Refused(f"{home.root} does not look like a home of this system: nothing is removed")
    shutil.rmtree(home.root)
