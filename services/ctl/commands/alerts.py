"""`qt alerts`: what needs a person, who has taken it, and what was told to whom."""

from __future__ import annotations

import asyncio
import getpass
from typing import Annotated

import typer
from quantum.analytics.v1 import alerts_pb2 as pb
from rich.table import Table

from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.gateway_client import GatewayClient, as_json, connected
from services.ctl.supervisor.home import Home, Refused
from services.ctl.terminal import tables

app = typer.Typer(help="Shows alerts and takes them.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(help="Id of the alert, or how it begins.")]


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    severity: Annotated[str, typer.Option(help="LOW, MEDIUM, HIGH or CRITICAL.")] = "",
    count: Annotated[int, typer.Option(help="At most this many.")] = 50,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Show the alerts that hold, the newest first.

    Example: qt alerts list --all --severity CRITICAL
    """

    async def ask() -> list[pb.StoredAlert]:
        async with connected(Home(home)) as client:
            return await client.alerts(resolved=everything, severity=severity.upper(), count=count)

    found = asyncio.run(ask())
    answer([as_json(row) for row in found], _table(found), json_)


@app.command()
def show(alert_id: IdArgument, home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Show one alert with the messages that were sent about it.

    Example: qt alerts show 3f9a1c
    """

    async def ask() -> pb.StoredAlert:
        async with connected(Home(home)) as client:
            return await _one(client, alert_id)

    found = asyncio.run(ask())
    answer(as_json(found), _whole(found), json_)


@app.command()
def ack(
    alert_id: IdArgument,
    note: Annotated[str, typer.Option(help="What to say about it.")] = "",
    by: Annotated[str, typer.Option(help="Who takes it; your login name by default.")] = "",
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Take an alert: everybody sees who looks after it; who took it first stays.

    Example: qt alerts ack 3f9a1c --note "disk is being replaced"
    """

    async def ask() -> pb.StoredAlert:
        async with connected(Home(home)) as client:
            found = await _one(client, alert_id)
            return await client.acknowledge(found.alert_id, by or getpass.getuser(), note)

    found = asyncio.run(ask())
    answer(as_json(found), _whole(found), json_)


async def _one(client: GatewayClient, begins: str) -> pb.StoredAlert:
    found = await client.alerts(resolved=True, begins=begins.lower(), count=2)
    if len(found) != 1:
        how = "no alert has" if not found else "several alerts have"
        raise Refused(f"{how} an id that begins with {begins}: `qt alerts list --all` shows them")
    return found[0]


def _table(rows: list[pb.StoredAlert]) -> Table | str:
    if not rows:
        return "no alert"
    table = Table("id", "since", "level", "severity", "alert", "component", "taken by", "message")
    for row in rows:
        table.add_row(
            row.alert_id[:12],
            tables.clock(row.raised_time),
            row.level,
            row.severity,
            row.alert_type,
            row.component,
            row.acknowledged_by,
            f"over: {row.message}" if row.resolved else row.message,
        )
    return table


def _whole(row: pb.StoredAlert) -> str:
    lines = [
        f"{row.alert_type} of {row.component}: {row.message}",
        f"id          {row.alert_id}",
        f"severity    {row.severity}, {row.level}: answer within {row.response_minutes} min",
        f"since       {tables.clock(row.raised_time)}, told by {row.source}",
    ]
    if row.acknowledged:
        when = tables.clock(row.acknowledged_time)
        lines.append(f"taken       by {row.acknowledged_by} at {when} {row.note}".rstrip())
    if row.resolved:
        lines.append(f"over        {tables.clock(row.resolved_time)}")
    lines.append(f"what to do  {row.runbook}")
    for sent in row.deliveries:
        lines.append(
            f"message     {sent.state} by {sent.channel}: {sent.status}, tries {sent.attempts}"
            f" {sent.error}".rstrip()
        )
    return "\n".join(lines)
