"""`qt streams`: the streams of the bus, declared by the operator before any service starts."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from services.catalog.subjects import STREAMS
from services.ctl.render.bus import OPERATOR
from services.ctl.servers.command import ServerFailed
from services.ctl.supervisor.streams import declare as declare_streams
from services.kit.bus_login import BadLogin, BusLogin
from services.kit.settings import ProcessSettings, load

DECLARE_SECONDS = 60.0

app = typer.Typer(help="Streams of the bus.", no_args_is_help=True)


@app.callback()
def streams() -> None:
    """Streams of the bus; `qt up` declares them by itself."""


@app.command()
def declare(
    replicas: Annotated[
        int, typer.Option(min=1, max=5, help="Servers that hold each message; 3 in a cluster.")
    ] = 1,
) -> None:
    """Create the streams, or bring existing ones to their limits; the environment says where.

    Example: NATS_URL=nats://127.0.0.1:4222 NATS_NKEY_FILE=operator.nk qt streams declare
    """
    settings = load(ProcessSettings)
    login = BusLogin(OPERATOR, settings.nats_nkey_file, settings.nats_ca_file)
    try:
        asyncio.run(_within(settings.nats_url, login, replicas))
    except (TimeoutError, BadLogin) as error:
        reason = str(error) or f"no answer within {DECLARE_SECONDS:.0f} s"
        raise ServerFailed(f"streams at {settings.nats_url}: {reason}") from error
    typer.echo(f"declared {', '.join(stream.name for stream in STREAMS)}")


async def _within(url: str, login: BusLogin, replicas: int) -> None:
    async with asyncio.timeout(DECLARE_SECONDS):
        await declare_streams(url, login, replicas)
