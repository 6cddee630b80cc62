"""`qt health`: how every service and part is, and why."""

from __future__ import annotations

import asyncio

import typer
from quantum.analytics.v1 import analytics_service_pb2 as pb
from rich.table import Table
from rich.text import Text

from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.gateway_client import as_json, connected
from services.ctl.supervisor.home import Home

_COLOURS = {"healthy": "green", "degraded": "yellow", "critical": "red", "down": "bold red"}


def health(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Show how every replica and backing part is, and why; exit 1 unless all are healthy.

    Example: qt health
    """

    async def ask() -> pb.GetSystemHealthResponse:
        async with connected(Home(home)) as client:
            return await client.system_health()

    found = asyncio.run(ask())
    answer(as_json(found), _table(found), json_)
    if found.overall_status != "healthy":
        raise typer.Exit(1)


def _table(found: pb.GetSystemHealthResponse) -> Table:
    table = Table("name", "replica", "status", "heard", "cpu %", "memory %", "why")
    table.title = f"system: {found.overall_status}"
    for row in found.services:
        heard = row.last_heartbeat_seconds_ago
        status = Text(row.status, _COLOURS.get(row.status, ""))
        if not row.instance:
            table.add_row(row.name, "", status, "", "", "", row.reason)
            continue
        use = (f"{row.cpu_percent:.0f}", f"{row.memory_percent:.1f}")
        ago = f"{heard:.0f} s ago"
        table.add_row(row.name, row.instance, status, ago, *use, row.reason)
    return table
