"""`qt db`: the ledger's old events into files, and back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from services.catalog.processes import ANALYTICS
from services.ctl.commands import db_upkeep
from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.render.roles import DATABASE
from services.ctl.supervisor.home import Home, Refused, read_json

app = typer.Typer(
    help="The database: its upkeep, its size, old events into files and back.", no_args_is_help=True
)

for tending in (
    db_upkeep.analyze,
    db_upkeep.vacuum,
    db_upkeep.reindex,
    db_upkeep.size,
    db_upkeep.migrate,
    db_upkeep.psql,
):
    app.command()(tending)

ToOption = Annotated[
    Path | None, typer.Option("--to", help="Folder of the files; HOME/archive without it.")
]


@app.command()
def archive(
    older_than: Annotated[str, typer.Option(help="Age, such as 30d.")] = "30d",
    to: ToOption = None,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Take events that are older, by their time and by when they were recorded, into files.

    Each file holds a UTC day as compressed CSV, with a manifest of counts and checksums beside it.

    Example: qt db archive --older-than 30d
    """
    folder = to or Home(home).root / "archive"
    lines = _run(home, ["archive", "--older-than", older_than, "--to", str(folder)], quiet=json_)
    files = [line.partition(":")[0] for line in lines if ".csv.gz:" in line]
    answer({"folder": str(folder), "files": files, "events": _events(lines)}, "", json_)


@app.command("restore-archive")
def restore_archive(
    files: Annotated[list[Path], typer.Argument(help="Files that `qt db archive` wrote.")],
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Put archived events back into the ledger; those that are there stay as they are.

    Example: qt db restore-archive .quantum/archive/events-2025-05-01.csv.gz
    """
    names = [str(path.resolve()) for path in files]
    lines = _run(home, ["restore-archive", *names], quiet=json_)
    answer({"files": names, "events": _events(lines)}, "", json_)


def _events(lines: list[str]) -> int:
    return sum(int(n) for line in lines for n in re.findall(r": (\d+) events", line))


def _run(home: Path, arguments: list[str], *, quiet: bool) -> list[str]:
    """Run analytics' own command as its role, showing what it says as it says it."""
    command = [sys.executable, "-m", "services.analytics", *arguments]
    environment = {**os.environ, **_login(Home(home))}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        lines = []
        for line in child.stdout or ():
            lines.append(line.rstrip())
            if not quiet:
                typer.echo(line.rstrip())
    if child.returncode:
        raise Refused(f"{arguments[0]} did not finish: see the line above")
    return lines


def _login(home: Home) -> dict[str, str]:
    address = read_json(home.endpoints_file).get("postgres")
    if not address:
        raise Refused(f"nothing runs in {home.root}: start it with `qt up`")
    return {
        "ANALYTICS_POSTGRES_URL": f"postgresql://{ANALYTICS.key}@{address}/{DATABASE}",
        "ANALYTICS_POSTGRES_PASSWORD_FILE": str(home.identities().password_file(ANALYTICS.key)),
    }
