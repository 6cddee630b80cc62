"""`qt check daily`: the morning's look at everything, for people and for cron."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.ctl.checks import daily as core
from services.ctl.checks import seen
from services.ctl.checks.verdict import FAIL, LOOK, OK, Check, failed, told
from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.supervisor.home import Home

app = typer.Typer(help="Looks at everything that an operator looks at.", no_args_is_help=True)

_COLOURS = {OK: "green", LOOK: "yellow", FAIL: "bold red"}


@app.callback()
def _group() -> None:
    """Looks at everything that an operator looks at."""


@app.command()
def daily(
    backups: Annotated[
        Path | None, typer.Option(help="Folder of backups; HOME/backups without it.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Check processes, health, errors of 24 h, account, exchange, disk and backups.

    Ends with 1 when something must be done, so that cron tells it.

    Example: qt check daily --json
    """
    place = Home(home)
    with Console(stderr=True).status("looking") as status:
        folder = backups or place.root / "backups"
        found = asyncio.run(
            seen.daily(place, folder, lambda what: status.update(f"looking: {what}"))
        )
    checks = core.judge(found)
    answer(told(checks), table(checks), as_json)
    if failed(checks):
        raise typer.Exit(1)


def table(checks: Sequence[Check]) -> Table:
    """Return checks as people read them."""
    shown = Table("", "check", "found", "what to do")
    for check in checks:
        state = Text(check.state, _COLOURS[check.state])
        shown.add_row(state, check.name, Text(check.told), Text(check.do))
    return shown
