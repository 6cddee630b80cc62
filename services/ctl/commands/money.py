"""Commands that show trading: positions, pnl, signals."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from quantum.ai.v1.ai_service_pb2 import GetTopOpportunitiesResponse
from quantum.ai.v1.signal_pb2 import Prediction, Signal
from quantum.analytics.v1.analytics_service_pb2 import GetPerformanceResponse
from quantum.exec_risk.v1.trading_pb2 import Account, Position
from rich.console import Group

from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.gateway_client import as_json, connected, word
from services.ctl.supervisor.home import Home
from services.ctl.terminal import tables


def positions(
    status: Annotated[str, typer.Option(help="open, closed or all.")] = "open",
    count: Annotated[int, typer.Option(help="At most this many.")] = 50,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Show positions with their protective orders.

    Example: qt positions --status closed --json
    """

    async def ask() -> list[Position]:
        async with connected(Home(home)) as client:
            return await client.positions("" if status == "all" else status, count)

    found = asyncio.run(ask())
    answer([as_json(p) for p in found], tables.positions(found, f"{status} positions"), json_)


def opportunities(
    count: Annotated[
        int, typer.Option(min=0, max=1000, help="At most this many; 0: all that were kept.")
    ] = 0,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Show the symbols that the last scan of the universe ranked best.

    Example: qt opportunities --count 5
    """

    async def ask() -> GetTopOpportunitiesResponse:
        async with connected(Home(home)) as client:
            return await client.opportunities(count)

    found = asyncio.run(ask())
    time = tables.clock(found.timestamp) if found.HasField("timestamp") else "no scan yet"
    title = f"{found.total_scanned} symbols, {word(found, 'regime').lower()} market, {time}"
    answer(as_json(found), tables.opportunities(found.opportunities, title), json_)


def signals(
    all_: Annotated[
        bool, typer.Option("--all", help="The last prediction of every symbol instead, also HOLD.")
    ] = False,
    count: Annotated[int, typer.Option(help="At most this many.")] = 20,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Show the last signals that were made, the newest first.

    Example: qt signals --count 5
    """

    async def made() -> list[Signal]:
        async with connected(Home(home)) as client:
            return await client.signals(count)

    async def said() -> list[Prediction]:
        async with connected(Home(home)) as client:
            return await client.predictions()

    if all_:
        predictions = asyncio.run(said())
        table = tables.predictions(predictions, "last predictions")
        answer([as_json(p) for p in predictions], table, json_)
        return
    found = asyncio.run(made())
    answer([as_json(s) for s in found], tables.signals(found, "last signals"), json_)


def pnl(
    date: Annotated[str, typer.Option(help="One UTC day, YYYY-MM-DD; without it all days.")] = "",
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Show profit by UTC day after commission and funding, and the account.

    Example: qt pnl --date 2025-05-01
    """

    async def ask() -> tuple[Account, GetPerformanceResponse]:
        async with connected(Home(home)) as client:
            return await client.account(), await client.performance(date)

    account, result = asyncio.run(ask())
    value = {"account": as_json(account), "performance": as_json(result)}
    table = tables.performance([*result.days, result.total], "profit by UTC day, USD")
    answer(value, Group(table, tables.account_line(account)), json_)
