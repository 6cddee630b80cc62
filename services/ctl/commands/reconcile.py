"""`qt reconcile`: in what the exchange and the stored state differ."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated

import typer
from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb
from rich.table import Table

from services.ctl.commands.options import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    YesOption,
    answer,
    confirm,
)
from services.ctl.gateway_client import as_json, connected
from services.ctl.supervisor.home import Home

ApplyOption = Annotated[bool, typer.Option("--apply", help="Repair what differs.")]


def reconcile(
    apply: ApplyOption = False,
    yes: YesOption = False,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Compare orders, positions, fills and money with the exchange; with --apply repair them.

    Example: qt reconcile --apply --yes
    """
    if apply:
        confirm("repair what differs, which may cancel orders and close positions", yes=yes)
    request_id = f"qt-{uuid.uuid4()}"

    async def ask() -> None:
        async with connected(Home(home)) as client:
            told = await client.reconcile(apply, request_id)
        if told.differences:
            answer(as_json(told), _table(told), json_)
        else:
            answer(as_json(told), "both sides agree", json_)

    asyncio.run(ask())


def _table(told: pb.ReconcileResponse) -> Table:
    title = "repaired" if told.applied else "not repaired; `qt reconcile --apply` does it"
    table = Table("symbol", "what", "here", "exchange", "repair", title=title)
    for row in told.differences:
        table.add_row(row.symbol, row.kind, row.ours, row.theirs, row.action)
    return table
