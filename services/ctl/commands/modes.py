"""`qt drain` and `qt maintenance`: entries stop, what is under way ends, exits go on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from quantum.analytics.v1 import modes_pb2
from rich.table import Table

from services.ctl import service_modes
from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.gateway_client import as_json
from services.ctl.operators import who
from services.ctl.supervisor.home import Home, Refused, read_json
from services.ctl.supervisor.topology import ROOT

HARNESS = ROOT / "tests" / "integration_test_harness.py"
CHECK_SECONDS = 120

maintenance = typer.Typer(
    help="Planned maintenance: no entries, exits go on, users are told.", no_args_is_help=True
)


class Service(StrEnum):
    """Services that have modes."""

    AI = "ai"
    EXEC_RISK = "exec_risk"
    ANALYTICS = "analytics"


Services = Annotated[list[Service] | None, typer.Argument(help="Services; all when absent.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept with the mode.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds that entries under way get.", min=0)]
Off = Annotated[bool, typer.Option("--off", help="Return into rotation.")]
Announce = Annotated[
    str, typer.Option("--announce", help="Sentence for users, sent as alerts are.")
]


def drain(
    services: Services = None,
    off: Off = False,
    reason: Reason = "drained by an operator",
    wait: Wait = 120.0,
    home: HomeOption = DEFAULT_HOME,
    as_json_: JsonOption = False,
) -> None:
    """Take all replicas of services out of rotation; they finish what they have and stay alive.

    Where exec_risk drains, entries stop and exits go on. With files instead: `touch
    /tmp/drain_mode` (DRAIN_FILE) in a replica's place drains that replica.

    Example: qt drain exec_risk --reason "new network card"
    """
    place, chosen = Home(home), tuple(service.value for service in services or ())
    told = asyncio.run(_switch(place, chosen, drain=not off, reason=reason))
    if not off and wait:
        asyncio.run(service_modes.until_idle(place, wait, _say))
    answer(told, _shown(told), as_json_)


@maintenance.command("on")
def on(
    reason: Reason = "planned maintenance",
    announce: Announce = "",
    wait: Wait = 300.0,
    home: HomeOption = DEFAULT_HOME,
    as_json_: JsonOption = False,
) -> None:
    """Stop entries and wait for those under way; positions stay and are looked after.

    Example: qt maintenance on --announce "We upgrade from 12:00 to 13:00 UTC"
    """
    told = asyncio.run(_begin(Home(home), reason, announce, wait))
    answer(told, _shown(told), as_json_)


@maintenance.command("off")
def off_(
    reason: Reason = "maintenance is over",
    home: HomeOption = DEFAULT_HOME,
    as_json_: JsonOption = False,
) -> None:
    """Let entries in again; users who were told of the begin are told of the end.

    Example: qt maintenance off
    """
    told = asyncio.run(_switch(Home(home), (), maintenance=False, reason=reason))
    answer(told, _shown(told), as_json_)


@maintenance.command("status")
def status(home: HomeOption = DEFAULT_HOME, as_json_: JsonOption = False) -> None:
    """Show which services drain or are in maintenance, and what each replica says.

    Example: qt maintenance status
    """
    place = Home(home)

    async def read() -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
        found = [as_json(mode) for mode in await service_modes.modes(place)]
        said = await service_modes.replicas(place)
        return found, {
            name: {"draining": s.draining, "maintenance": s.maintenance} if s else {}
            for name, s in said.items()
        }

    modes, said = asyncio.run(read())
    answer({"modes": modes, "replicas": said}, _shown(modes, said), as_json_)


@maintenance.command("run")
def run(
    script: Annotated[Path, typer.Argument(help="What does the work; exit code 0 when it did.")],
    reason: Reason = "planned maintenance",
    announce: Announce = "",
    wait: Wait = 300.0,
    check_seconds: Annotated[
        int, typer.Option(min=1, help="Longest time of the check afterwards.")
    ] = CHECK_SECONDS,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Maintenance on, wait for what is under way, run the script, check, maintenance off.

    The check is the harness: health first, then, with entries let in again, an entry followed into
    the ledger. When script or check fails the system stays in maintenance, and exit code 1 says so.

    Example: qt maintenance run ./upgrade.sh --announce "Upgrade until 13:00 UTC"
    """
    place = Home(home)
    if not script.is_file():
        raise Refused(f"{script}: no such file; nothing was switched")
    asyncio.run(_begin(place, reason, announce, wait))
    _say(f"in maintenance; running {script}")
    code = subprocess.run([str(script.resolve())]).returncode
    if code:
        _stays(f"{script} ended with {code}")
    _say("the script is done; checking every process")
    if _verify(place):
        _stays("not everything is well after the script: `qt verify`")
    # the harness follows a new entry, and there is none while maintenance keeps entries out
    asyncio.run(_switch(place, (), maintenance=False, reason=f"check after {script.name}"))
    if _harness(place, check_seconds):
        asyncio.run(_switch(place, (), maintenance=True, reason=f"check failed: {script.name}"))
        _stays("the check after maintenance failed")
    _say("the check passed; maintenance is over")


def _stays(why: str) -> None:
    typer.echo(
        f"{why}: the system STAYS IN MAINTENANCE (no entries, exits go on)."
        " Mend it, then `qt maintenance off`",
        err=True,
    )
    raise typer.Exit(1)


def _verify(home: Home) -> int:
    command = [sys.executable, "-m", "services.ctl", "verify", f"--home={home.root}"]
    return subprocess.run(command).returncode


def _harness(home: Home, seconds: int) -> int:
    address = read_json(home.endpoints_file)["gateway"]["ingress"].removeprefix("http://")
    command = [sys.executable, str(HARNESS), "--address", address, "--deadline", str(seconds)]
    return subprocess.run(command).returncode


async def _begin(home: Home, reason: str, announce: str, wait: float) -> list[dict[str, Any]]:
    told = await _switch(home, (), maintenance=True, reason=reason, announce=announce)
    if wait:
        await service_modes.until_idle(home, wait, _say)
    return told


async def _switch(
    home: Home,
    services: tuple[str, ...],
    *,
    reason: str,
    drain: bool | None = None,
    maintenance: bool | None = None,
    announce: str = "",
) -> list[dict[str, Any]]:
    request = modes_pb2.SetServiceModeRequest(
        services=services,
        reason=reason,
        announcement=announce,
        request_id=f"qt-{uuid.uuid4()}",
        by=who(),
    )
    if drain is not None:
        request.drain = drain
    if maintenance is not None:
        request.maintenance = maintenance
    told = await service_modes.switch(home, request)
    await service_modes.until_told(home, services, drain=drain, maintenance=maintenance)
    return [as_json(mode) for mode in told.modes]


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _shown(modes: Sequence[dict[str, Any]], said: dict[str, dict[str, Any]] | None = None) -> Table:
    table = Table("service", "drain", "maintenance", "reason", "by", "since", "replicas")
    for mode in modes:
        own = [
            f"{name}: {'drains ' if s.get('draining') else ''}"
            f"{'maintenance' if s.get('maintenance') else ''}".strip(": ")
            for name, s in (said or {}).items()
            if name.partition("-")[0] == mode["service"]
        ]
        since = str(mode.get("time") or "")
        switched = ("on" if mode[key] else "off" for key in ("drain", "maintenance"))
        table.add_row(mode["service"], *switched, mode["reason"], mode["by"], since, "; ".join(own))
    return table
