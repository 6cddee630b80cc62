"""`qt venue fault`: tells the paper venue to misbehave, and shows how it does."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import aiohttp
import typer
from aiohttp import web
from rich.table import Table

from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.supervisor.home import Home, Refused, read_json

ANSWER_SECONDS = 5.0
PATH = "/paper/v1/faults"
_OWN_COLUMNS = ("id", "kind", "times", "left", "used", "skip", "left_seconds")

app = typer.Typer(help="The paper venue: its faults.", no_args_is_help=True)
fault = typer.Typer(
    help="Faults of the paper venue. Example: qt venue fault add reply_drop --path order --times 2",
    no_args_is_help=True,
)
app.add_typer(fault, name="fault")


@fault.command("add")
def add(
    kind: Annotated[
        str,
        typer.Argument(
            help="request_delay, request_drop, request_duplicate, reply_delay, reply_drop,"
            " reply_reorder, error, stream_delay, stream_drop, stream_duplicate, stream_reorder,"
            " close_sockets, silence, skew, ban, maintenance, gap, partial."
        ),
    ],
    method: Annotated[str | None, typer.Option(help="Only this REST method.")] = None,
    path: Annotated[str | None, typer.Option(help="Only this path, for example order.")] = None,
    event: Annotated[
        str | None, typer.Option(help="Only this stream event, for example kline; or user, market.")
    ] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    side: Annotated[str | None, typer.Option(help="Only BUY or SELL.")] = None,
    client_id: Annotated[
        str | None, typer.Option(help="Only client ids that begin so: qte entries, qts stops.")
    ] = None,
    times: Annotated[int | None, typer.Option(help="How often; 0: until removed.")] = None,
    skip: Annotated[int | None, typer.Option(help="Let so many pass first.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Wall time until it ends.")] = None,
    delay_ms: Annotated[int | None, typer.Option(help="Of delays and reorderings.")] = None,
    status: Annotated[int | None, typer.Option(help="HTTP status of an error or ban.")] = None,
    code: Annotated[int | None, typer.Option(help="Binance's code of an error.")] = None,
    message: Annotated[str | None, typer.Option(help="Text of an error.")] = None,
    body: Annotated[str | None, typer.Option(help="json, html, broken or empty.")] = None,
    carried_out: Annotated[
        bool, typer.Option("--carried-out", help="Error or silence after the request took effect.")
    ] = False,
    retry_after: Annotated[int | None, typer.Option(help="Seconds in Retry-After.")] = None,
    offset_ms: Annotated[int | None, typer.Option(help="Skew: how far ahead; may be < 0.")] = None,
    amount: Annotated[
        str | None, typer.Option(help="Gap: share of the price; partial: share of the order.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Put a fault in force; once, unless --times or --seconds say otherwise.

    Example: qt venue fault add error --status 503 --code -1007 --path order --carried-out
    """
    asked = {
        "kind": kind,
        "method": method,
        "path": path,
        "event": event,
        "symbol": symbol,
        "side": side,
        "client_id": client_id,
        "times": times,
        "skip": skip,
        "seconds": seconds,
        "delay_ms": delay_ms,
        "status": status,
        "code": code,
        "message": message,
        "body": body,
        "carried_out": carried_out or None,
        "retry_after": retry_after,
        "offset_ms": offset_ms,
        "amount": amount,
    }
    body_ = {name: value for name, value in asked.items() if value is not None}
    told = asyncio.run(_ask(Home(home), "POST", json=body_))
    answer(told, f"fault {told['id']}: {told['kind']}", as_json)


@fault.command("list")
def list_(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show the faults in force.

    Example: qt venue fault list --json
    """
    told = asyncio.run(_ask(Home(home), "GET"))
    answer(told["faults"], _table(told["faults"]), as_json)


@fault.command("clear")
def clear(
    fault_id: Annotated[str, typer.Argument(help="Id of the fault; all when absent.")] = "",
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """End a fault, or all of them.

    Example: qt venue fault clear
    """
    told = asyncio.run(_ask(Home(home), "DELETE", params={"id": fault_id} if fault_id else {}))
    answer(told, f"ended: {', '.join(told['removed']) or 'none was in force'}", as_json)


async def _ask(home: Home, method: str, **request: Any) -> dict[str, Any]:
    """Ask the home's venue; Refused when it does not run or refuses."""
    venue = read_json(home.endpoints_file).get("venue")
    if venue is None:
        raise Refused(f"nothing runs in {home.root}: start it with `qt up`")
    limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    headers = {"X-MBX-APIKEY": home.secrets()["api_key"]}
    url = f"{venue}{PATH}"
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, headers=headers) as session,
            session.request(method, url, **request) as told,
        ):
            found: dict[str, Any] = await told.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Refused(f"the paper venue at {url} does not answer: `qt ps` shows it") from error
    if told.status != web.HTTPOk.status_code:
        raise Refused(str(found.get("msg", found)))
    return found


def _table(faults: list[dict[str, Any]]) -> Table:
    table = Table("fault", "kind", "hits", "used", "left", title="faults in force")
    for one in faults:
        hits = " ".join(f"{k}={v}" for k, v in one.items() if k not in _OWN_COLUMNS)
        seconds = one.get("left_seconds")
        times = one.get("left", one.get("times", 0))
        left = f"{seconds:.1f} s" if seconds is not None else f"{times} times" if times else ""
        table.add_row(one["id"], one["kind"], hits, str(one.get("used", "")), left)
    return table
