"""`qt report`, `qt trade` and `qt models performance`: what a span brought, and why."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from quantum.analytics.v1 import report_pb2 as pb
from rich.console import Console, Group

from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.gateway_client import as_json, connected
from services.ctl.report_page import page
from services.ctl.supervisor.home import Home, Refused
from services.ctl.terminal import report_tables
from services.ctl.terminal.tables import clock

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Period(StrEnum):
    """A period that ends with the newest day of the market."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


def report(
    period: Annotated[Period | None, typer.Option(help="day, week or month.")] = None,
    since: Annotated[
        str, typer.Option("--from", help="Begin, UTC: YYYY-MM-DD or YYYY-MM-DDTHH:MMZ.")
    ] = "",
    until: Annotated[
        str, typer.Option("--to", help="End, UTC, excluded; a day alone means its end.")
    ] = "",
    html: Annotated[Path | None, typer.Option(help="Also write a page with plots here.")] = None,
    trades: Annotated[int, typer.Option(help="At most this many single trades.", max=1000)] = 50,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Show what a span of market time brought: money, trades, equity, health.

    Example: qt report --period week --html week.html
    """
    request = pb.GetReportRequest(period=period or "", since=since, until=until, trades=trades)
    found = asyncio.run(_ask(home, request))
    if html is not None:
        html.write_text(page(found), encoding="utf-8")
    table = report_tables.report(found)
    written = [f"written to {html}"] if html is not None else []
    answer(as_json(found), Group(table, *written), json_)


def trade(
    position_id: Annotated[str, typer.Argument(help="Position id, as `qt positions` shows it.")],
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Show one trade: its fills, its costs, its risk, and how far the price went.

    Example: qt trade 3f9c2a --json
    """

    async def ask() -> tuple[object, str]:
        async with connected(Home(home)) as client:
            found = await client.trade(position_id)
        one = found.trade
        lines = [
            f"{one.symbol} {one.side} {one.quantity} at {one.entry_price}, out at"
            f" {one.exit_price or 'nothing yet'} ({one.exit_reason or found.status})",
            f"gross {one.gross_pnl}, commission {one.commission}, funding {one.funding},"
            f" net {one.net_pnl} USD",
            *(f"{name}: {text}" for name, text in report_tables.trade(found.measures).items()),
            *(
                f"{clock(f.time)} {f.side} {f.quantity} at {f.price} ({f.purpose})"
                for f in found.fills
            ),
        ]
        return as_json(found), "\n".join(lines)

    value, text = asyncio.run(ask())
    answer(value, text, json_)


def performance(
    window: Annotated[str, typer.Option(help="Length, such as 12h, 1d, 2w.")] = "1d",
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Show what each model version advised and what its trades brought.

    Example: qt models performance --window 7d
    """
    length = parse_window(window)

    async def ask() -> pb.GetReportResponse:
        whole = await _ask(home, pb.GetReportRequest(period="day", trades=1))
        end = whole.until.ToDatetime(tzinfo=UTC)
        return await _ask(home, pb.GetReportRequest(since=_text(end - length), until=_text(end)))

    found = asyncio.run(ask())
    title = f"models, {report_tables.day_and_time(found.since)} to"
    title += f" {report_tables.day_and_time(found.until)} UTC"
    table = report_tables.models(found.by_model, found.predictions, title)
    value = {
        "since": as_json(found)["since"],
        "until": as_json(found)["until"],
        "models": [as_json(row) for row in found.by_model],
        "predictions": [as_json(row) for row in found.predictions],
    }
    answer(value, table, json_)


def parse_window(text: str) -> timedelta:
    """Return the length of a window such as `12h`; Refused when it is none."""
    match = re.fullmatch(r"([1-9][0-9]{0,3})([hdw])", text)
    if match is None:
        raise Refused(f"window {text!r}: give a number and h, d or w, for example 1d")
    return int(match[1]) * _UNITS[match[2]]


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


async def _ask(home: Path, request: pb.GetReportRequest) -> pb.GetReportResponse:
    with Console(stderr=True).status("reading the ledger"):
        async with connected(Home(home)) as client:
            return await client.report(request)
