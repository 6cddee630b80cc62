"""`qt diagnose`: the playbooks of the operations guide, judged, with an incident file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from services.catalog.processes import process
from services.ctl.checks import diagnosis, evidence, incident
from services.ctl.checks.diagnosis import Diagnosis
from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.logbook.causes import Cause
from services.ctl.supervisor.home import Home, Refused

T = TypeVar("T")

app = typer.Typer(
    help="Find out what is wrong, by the playbooks of the operations guide.", no_args_is_help=True
)
NO_INCIDENT = 4
"""Level of a diagnosis for which no incident file is written."""


@app.command("service-down")
def service_down(
    service: Annotated[str, typer.Argument(help="For example exec_risk, ai-service, postgres.")],
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Playbook 1: why a service is down; ends with 1 when it is an incident.

    Example: qt diagnose service-down exec_risk
    """
    place, key = Home(home), _key(service)
    found = _gather(evidence.outage(place, key))
    _end(
        place, "service-down", f"{key} is down", diagnosis.service_down(found), found.causes, json_
    )


@app.command()
def latency(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Playbook 2: what makes signals slow; ends with 1 when it is an incident.

    Example: qt diagnose latency
    """
    place = Home(home)
    found = _gather(evidence.pace(place))
    _end(place, "latency", "signals are slow", diagnosis.latency(found), (), json_)


@app.command()
def errors(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Playbook 3: where the errors of the last ten minutes come from.

    Example: qt diagnose errors
    """
    place = Home(home)
    found = _gather(evidence.trouble(place))
    _end(place, "errors", "many errors", diagnosis.errors(found), found.causes, json_)


@app.command()
def inconsistency(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Playbook 4: do exchange, database and ledger agree; changes nothing, ends with 1 if not.

    Example: qt diagnose inconsistency
    """
    place = Home(home)
    found = _gather(evidence.books(place))
    _end(place, "inconsistency", "the books differ", diagnosis.inconsistency(found), (), json_)


def _gather(look: Awaitable[T]) -> T:
    async def run() -> T:
        return await look

    with Console(stderr=True).status("gathering"):
        return asyncio.run(run())


def _key(name: str) -> str:
    try:
        return process(name).key
    except KeyError:
        return name


def _end(
    home: Home,
    playbook: str,
    what: str,
    found: Diagnosis,
    causes: Sequence[Cause],
    json_: bool,
) -> None:
    incident_found = found.level < NO_INCIDENT
    file = _written(home, playbook, what, found, causes) if incident_found else None
    told = {**asdict(found), "playbook": playbook, "incident": str(file) if file else None}
    answer(told, _text(found, file), json_)
    if file is not None:
        raise typer.Exit(1)


def _written(
    home: Home, playbook: str, what: str, found: Diagnosis, causes: Sequence[Cause]
) -> Path:
    """Write the incident file and return it."""
    now = datetime.now(UTC)
    folder = home.root / "incidents"
    file = folder / f"{now:%Y%m%dT%H%M%SZ}-{playbook}.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(incident.page(playbook, what, f"{now:%Y-%m-%d %H:%M:%SZ}", found, causes))
    except OSError as error:
        raise Refused(f"cannot write {file} ({error.strerror}); cause: {found.cause}") from error
    return file


def _text(found: Diagnosis, file: Path | None) -> str:
    lines = [f"cause     {found.cause}", f"level     SEV-{found.level}"]
    lines += [f"seen      {line}" for line in found.evidence]
    lines += [f"next      {command}" for command in found.commands]
    lines += [f"incident  {file}"] if file else []
    return "\n".join(lines)
