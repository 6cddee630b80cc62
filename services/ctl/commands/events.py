"""`qt events` and `qt dlq`: what the streams of the bus hold, and what kept failing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console, Group
from rich.progress import Progress

from services.catalog import subjects
from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.operator_bus import operator_bus
from services.ctl.stored import Stored, StoredMessages, streams_of
from services.ctl.supervisor.home import Home, Refused
from services.ctl.terminal import streams as tables

T = TypeVar("T")

app = typer.Typer(help="Events on the bus: counts, the last ones, one of them.")
dlq = typer.Typer(help="Dead letters: messages that kept failing, and why.")

Type = Annotated[
    str, typer.Argument(help="Event type, for example position.opened; all if absent.")
]
Url = Annotated[str, typer.Option(envvar="NATS_URL", help="Another bus than that of --home.")]
Seed = Annotated[
    Path | None, typer.Option(envvar="NATS_NKEY_FILE", help="Seed of the bus user `operator`.")
]
Sequence = Annotated[int, typer.Argument(help="Its number in the list.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
All = Annotated[bool, typer.Option("--all", help="All dead letters.")]


def _ask(
    home: Path, url: str, nkey_file: Path | None, do: Callable[[StoredMessages], Awaitable[T]]
) -> T:
    async def run() -> T:
        async with operator_bus(Home(home), url, nkey_file) as bus:
            return await do(StoredMessages(bus))

    return asyncio.run(run())


@app.command()
def info(
    event_type: Type = "",
    home: HomeOption = DEFAULT_HOME,
    url: Url = "",
    nkey_file: Seed = None,
    as_json: JsonOption = False,
) -> None:
    """Show how many messages there are, of which subjects, and how far their readers are.

    Example: qt events info position.opened
    """
    chosen = streams_of(event_type)

    async def states(held: StoredMessages) -> list[Any]:
        return [await held.state(stream, subject) for stream, subject in chosen]

    found = [
        state for state in _ask(home, url, nkey_file, states) if state.messages or not event_type
    ]
    shown = Group(*tables.states(found)) if found else f"no {event_type} is stored now"
    answer([tables.state_told(state) for state in found], shown, as_json)


@app.command()
def tail(
    event_type: Type = "",
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 10,
    home: HomeOption = DEFAULT_HOME,
    url: Url = "",
    nkey_file: Seed = None,
    as_json: JsonOption = False,
) -> None:
    """Show the last events of a type, the oldest first.

    Example: qt events tail fill.recorded -n 5
    """
    chosen = streams_of(event_type)[:2] if event_type else streams_of("")[1:3]

    async def last(held: StoredMessages) -> list[Stored]:
        found = [one for s, subject in chosen for one in await held.last(s, subject, count)]
        return sorted(found, key=lambda one: one.time)[-count:]

    found = _ask(home, url, nkey_file, last)
    answer([one.told() for one in found], tables.messages(found), as_json)


@app.command()
def show(
    message_id: Annotated[str, typer.Argument(help="Its id, or STREAM:SEQUENCE.")],
    home: HomeOption = DEFAULT_HOME,
    url: Url = "",
    nkey_file: Seed = None,
) -> None:
    """Show one event whole, as JSON.

    Example: qt events show EVENTS:1042
    """
    name, _, number = message_id.rpartition(":")
    by_place = {stream.name: stream for stream in subjects.STREAMS}.get(name)

    async def one(held: StoredMessages) -> Stored | None:
        if by_place is not None and number.isdigit():
            return await held.at(by_place, int(number))
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("looking through the streams")
            return await held.named(
                message_id, lambda done, total: progress.update(task, completed=done, total=total)
            )

    found = _ask(home, url, nkey_file, one)
    if found is None:
        raise Refused(f"no stream holds {message_id}; older events are in the ledger")
    typer.echo(json.dumps(found.told(), indent=2))


async def _letters(held: StoredMessages) -> list[Stored]:
    return [one async for one in held.walk(subjects.DEADLETTER, ">")]


@dlq.command("list")
def list_letters(
    home: HomeOption = DEFAULT_HOME,
    url: Url = "",
    nkey_file: Seed = None,
    as_json: JsonOption = False,
) -> None:
    """Show the dead letters, the oldest first.

    Example: qt dlq list
    """
    found = _ask(home, url, nkey_file, _letters)
    shown = tables.letters(found) if found else "no dead letters"
    answer([one.told() for one in found], shown, as_json)


@dlq.command("show")
def show_letter(
    sequence: Sequence, home: HomeOption = DEFAULT_HOME, url: Url = "", nkey_file: Seed = None
) -> None:
    """Show one dead letter whole, as JSON.

    Example: qt dlq show 3
    """
    found = _ask(home, url, nkey_file, lambda held: held.at(subjects.DEADLETTER, sequence))
    typer.echo(json.dumps(found.told(), indent=2))


@dlq.command()
def retry(
    sequence: Annotated[int, typer.Argument(help="Its number in the list.")] = 0,
    every: All = False,
    home: HomeOption = DEFAULT_HOME,
    url: Url = "",
    nkey_file: Seed = None,
    as_json: JsonOption = False,
) -> None:
    """Hand dead letters to their readers again; who handled one before does nothing.

    Example: qt dlq retry 3
    """
    done = _ask(home, url, nkey_file, lambda held: _each(held, sequence, every, held.send_again))
    answer({"retried": done}, f"sent again: {', '.join(map(str, done)) or 'none'}", as_json)


@dlq.command()
def drop(
    sequence: Annotated[int, typer.Argument(help="Its number in the list.")] = 0,
    every: All = False,
    yes: Yes = False,
    home: HomeOption = DEFAULT_HOME,
    url: Url = "",
    nkey_file: Seed = None,
    as_json: JsonOption = False,
) -> None:
    """Remove dead letters for good.

    Example: qt dlq drop 3 --yes
    """
    what = "all dead letters" if every else f"dead letter {sequence}"
    if not yes and not typer.confirm(f"remove {what} for good?", err=True):
        raise Refused("nothing was removed")
    done = _ask(home, url, nkey_file, lambda held: _each(held, sequence, every, held.remove))
    answer({"dropped": done}, f"removed: {', '.join(map(str, done)) or 'none'}", as_json)


async def _each(
    held: StoredMessages, sequence: int, every: bool, do: Callable[[Stored], Awaitable[None]]
) -> list[int]:
    if every is bool(sequence):
        raise Refused("say the number of one dead letter, or --all")
    chosen = await _letters(held) if every else [await held.at(subjects.DEADLETTER, sequence)]
    for letter in chosen:
        await do(letter)
    return [letter.sequence for letter in chosen]
