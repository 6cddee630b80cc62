"""Options that many commands share, and how answers are printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

from services.ctl.supervisor.home import DEFAULT

HomeOption = Annotated[Path, typer.Option("--home", help="Folder of the running system.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
DEFAULT_HOME = DEFAULT
WIDTH = 200
"""Columns where there is no terminal to ask: nothing is cut off."""


def confirm(what: str, *, yes: bool) -> None:
    """Ask a person before what cannot be taken back; without one, or with a no, nothing is done."""
    if not yes:
        typer.confirm(f"Really {what}?", abort=True, err=True)


def answer(value: Any, table: RenderableType | str, as_json: bool) -> None:
    """Print the value as JSON, or the table that people read."""
    console = Console(soft_wrap=isinstance(table, str))
    if not console.is_terminal:
        console = Console(soft_wrap=isinstance(table, str), width=WIDTH)
    if as_json:
        typer.echo(json.dumps(value, indent=2))
    else:
        console.print(table, markup=False, highlight=False)
