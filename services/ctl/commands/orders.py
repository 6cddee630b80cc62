"""`qt order`: have a quantity executed, take orders back, look at them."""

from __future__ import annotations

import asyncio
import uuid
from enum import StrEnum
from typing import Annotated

import typer
from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb
from quantum.exec_risk.v1 import trading_pb2
from rich.table import Table

from services.ctl.commands.options import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    YesOption,
    answer,
    confirm,
)
from services.ctl.gateway_client import as_json, connected, word
from services.ctl.supervisor.home import Home, Refused
from services.ctl.terminal import tables

app = typer.Typer(help="Submits, cancels and shows orders.", no_args_is_help=True)


class Direction(StrEnum):
    """Direction of an order."""

    BUY = "BUY"
    SELL = "SELL"


class Strategy(StrEnum):
    """How a quantity is brought to the exchange."""

    SMART = "SMART"
    MARKET = "MARKET"
    LIMIT = "LIMIT"
    TWAP = "TWAP"
    VWAP = "VWAP"
    ICEBERG = "ICEBERG"


class Rest(StrEnum):
    """How long limit orders rest."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"


@app.command()
def submit(
    symbol: Annotated[str, typer.Argument(help="Symbol, for example BTCUSDT.")],
    side: Annotated[Direction, typer.Argument(help="BUY or SELL.", case_sensitive=False)],
    quantity: Annotated[str, typer.Option(help="Quantity in the base asset.")] = "",
    notional: Annotated[str, typer.Option(help="Size in USD.")] = "",
    margin: Annotated[str, typer.Option(help="Margin in USD; times leverage is the size.")] = "",
    leverage: Annotated[int, typer.Option(help="Leverage; 0: the setting's.")] = 0,
    reduce_only: Annotated[bool, typer.Option(help="Only make a position smaller.")] = False,
    strategy: Annotated[
        Strategy, typer.Option(help="How; SMART chooses by impact.", case_sensitive=False)
    ] = Strategy.SMART,
    limit_price: Annotated[str, typer.Option(help="Worst price that is taken.")] = "",
    rest: Annotated[
        Rest, typer.Option(help="How long LIMIT rests; GTX: post-only.", case_sensitive=False)
    ] = Rest.GTC,
    duration: Annotated[int, typer.Option(help="Seconds until it ends; 0: the setting's.")] = 0,
    stop: Annotated[str, typer.Option(help="Stop's distance as a fraction.")] = "",
    target: Annotated[str, typer.Option(help="Target's distance as a fraction.")] = "",
    yes: YesOption = False,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Have a quantity executed; a rule that refuses it is named, and the exit code is 2.

    Example: qt order submit BTCUSDT BUY --notional 500 --strategy TWAP --duration 600
    """
    sizes = {"quantity": quantity, "notional_usd": notional, "margin_usd": margin}
    given = {name: value for name, value in sizes.items() if value}
    if len(given) != 1:
        raise Refused("give exactly one of --quantity, --notional, --margin")
    if reduce_only:
        confirm(f"close up to that much of the position in {symbol.upper()}", yes=yes)
    request = pb.SubmitExecutionRequest(
        request_id=f"qt-{uuid.uuid4()}",
        symbol=symbol.upper(),
        side=trading_pb2.Side.Value(f"SIDE_{side}"),
        leverage=leverage,
        reduce_only=reduce_only,
        strategy=trading_pb2.ExecutionStrategy.Value(f"EXECUTION_STRATEGY_{strategy}"),
        limit_price=limit_price,
        time_in_force=trading_pb2.TimeInForce.Value(f"TIME_IN_FORCE_{rest}"),
        duration_seconds=duration,
        stop_loss_fraction=stop,
        take_profit_fraction=target,
    )
    for name, value in given.items():
        setattr(request, name, value)

    async def ask() -> pb.SubmitExecutionResponse:
        async with connected(Home(home)) as client:
            return await client.submit(request)

    told = asyncio.run(ask())
    if not told.approved:
        raise Refused(f"refused by the rule {told.rule}: {told.reason}")
    answer(as_json(told), execution_table(told.execution, told.reason), json_)


@app.command()
def cancel(
    client_order_id: Annotated[str, typer.Argument(help="Client order id.")],
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Cancel an order, or all that is left of its execution.

    Example: qt order cancel qte0-0f3c9a1be2d44c5a8b7e6d01
    """

    async def ask() -> trading_pb2.Order:
        async with connected(Home(home)) as client:
            return await client.cancel(client_order_id, f"qt-{uuid.uuid4()}")

    found = asyncio.run(ask())
    answer(as_json(found), tables.orders([found], "cancelling"), json_)


@app.command("list")
def list_(
    open_: Annotated[bool, typer.Option("--open", help="Only those that live.")] = False,
    symbol: Annotated[str, typer.Option(help="Only of this symbol.")] = "",
    count: Annotated[int, typer.Option(help="At most this many.")] = 20,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Show orders, the newest first.

    Example: qt order list --open --symbol BTCUSDT
    """

    async def ask() -> list[trading_pb2.Order]:
        async with connected(Home(home)) as client:
            return await client.orders(count, open_only=open_, symbol=symbol.upper())

    found = asyncio.run(ask())
    answer([as_json(row) for row in found], _named(found), json_)


def _named(rows: list[trading_pb2.Order]) -> Table:
    """Return orders with the ids by which they are cancelled."""
    columns = ("client order id", "time", "symbol", "side", "type", "quantity", "filled", "state")
    table = Table(*columns, title="orders")
    for row in rows:
        table.add_row(
            row.client_order_id,
            tables.clock(row.updated_time),
            row.symbol,
            word(row, "side"),
            word(row, "type"),
            row.quantity,
            row.filled_quantity,
            word(row, "state"),
        )
    return table


def execution_table(execution: trading_pb2.Execution, title: str) -> Table:
    """Return one execution."""
    table = Table("execution", "symbol", "side", "strategy", "quantity", "parts", title=title)
    table.add_row(
        execution.execution_id,
        execution.symbol,
        word(execution, "side"),
        word(execution, "strategy"),
        execution.quantity,
        str(execution.slices),
    )
    return table
