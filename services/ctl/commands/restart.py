"""`qt restart`: everything, some of it, or one replica at a time while trading goes on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Annotated

import typer
from rich.console import Console

from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.supervisor.asking import NotRunning, ask, ask_steps
from services.ctl.supervisor.home import Home, Refused
from services.ctl.supervisor.topology import SCALABLE

WHOLE_SECONDS = 240.0

Services = Annotated[
    list[str] | None,
    typer.Argument(help="Services or instances, for example ai or ai-1; all when absent."),
]
Rolling = Annotated[
    bool,
    typer.Option(
        "--rolling",
        help="One replica at a time, each ready before the next; a lone one gets a spare.",
    ),
]
Rebuild = Annotated[
    bool,
    typer.Option(
        "--rebuild",
        help="Take the code of now: its schema first, and its commit as the build. With compose:"
        " `docker compose up -d --build SERVICE`.",
    ),
]


def restart(
    services: Services = None,
    rolling: Rolling = False,
    rebuild: Rebuild = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Stop services in order and start them again; all parts, servers too, when none is named.

    With --rolling no call fails and trading goes on: analytics, ai, exec_risk, a replica at a time.

    Example: qt restart --rolling ai exec_risk
    """
    place, names = Home(home), services or []
    if rebuild:
        chosen = names or list(SCALABLE)
        asyncio.run(ask(place, "POST", f"/rebuild/{','.join(chosen)}"))
    if rolling:
        steps: list[str] = []
        path = f"/roll/{','.join(names)}" if names else "/roll"
        asyncio.run(ask_steps(place, path, lambda step: _tell(step, steps, quiet=as_json)))
        answer({"steps": steps}, "every replica was restarted, one at a time", as_json)
    elif names:
        told = [asyncio.run(ask(place, "POST", f"/restart/{name}")) for name in names]
        found = [instance for one in told for instance in one["restarting"]]
        answer({"restarting": found}, f"restarting {', '.join(found)}", as_json)
    else:
        found = asyncio.run(_everything(place))
        answer({"restarted": found}, f"restarted {', '.join(found)}", as_json)


def _tell(step: str, steps: list[str], *, quiet: bool) -> None:
    steps.append(step)
    if not quiet:
        typer.echo(step)


async def _everything(home: Home) -> list[str]:
    """Stop and start all processes; return their names when they are ready."""
    starts = (await ask(home, "GET", "/status")).get("starts", 1)
    await ask(home, "POST", "/restart")
    deadline = time.monotonic() + WHOLE_SECONDS
    with Console(stderr=True).status("stopping and starting everything") as shown:
        while time.monotonic() < deadline:
            with contextlib.suppress(NotRunning):
                told = await ask(home, "GET", "/status")
                shown.update(f"the system is {told['phase']}")
                if told["starts"] > starts and told["phase"] == "running":
                    return [row["name"] for row in told["processes"]]
            if not home.supervised():
                raise Refused("the system did not start again: `qt logs`, then `qt up`")
            await asyncio.sleep(0.3)
    raise Refused(f"not running after {WHOLE_SECONDS:.0f} s: `qt ps` shows what is missing")
