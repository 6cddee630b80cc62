"""`qt doctor`: is this machine ready, and what is wrong with settings and keys."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from services.ctl.checks import looked, machine
from services.ctl.checks.verdict import Check, failed, told
from services.ctl.commands.check import table
from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.settings import KeySettings
from services.ctl.supervisor.home import Home
from services.kit import settings


def doctor(
    keys: Annotated[
        bool, typer.Option("--keys", help="Ask the exchange about key and clock too.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Check versions, ports, disk, limits, settings and keys; exit 1 if something is wrong.

    A key that may withdraw or transfer is refused.

    Example: qt doctor --keys
    """
    checks = machine.judge_machine(looked.machine(Home(home)))
    with Console(stderr=True).status("looking") as status:
        found = asyncio.run(looked.configured(lambda what: status.update(f"looking: {what}")))
        checks += machine.judge_settings(found)
        if not found.problems:
            status.update("looking: keys")
            checks += asyncio.run(_keys(keys))
    answer(told(checks), table(checks), as_json)
    if failed(checks):
        raise typer.Exit(1)


async def _keys(ask: bool) -> list[Check]:
    """Judge the key; the exchange is asked only when a person wants it."""
    held = settings.load(KeySettings)
    venue = held.exchange_venue
    try:
        key, secret = held.pair()
    except OSError as error:
        return machine.judge_keys(venue, {"error": f"{error.filename}: {error.strerror}"}, None)
    if venue == "paper" or not ask:
        known = {} if key and secret else {"missing": True}
        return machine.judge_keys(venue, known, None)
    return machine.judge_keys(venue, *await looked.rights(venue, key, secret))
