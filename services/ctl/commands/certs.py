"""`qt certs`: the certificates of the mesh."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import asdict

import typer

from services.ctl import policy
from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.delivery import Delivery, of_home
from services.ctl.supervisor.home import Home
from services.ctl.terminal import tables

TEND_SECONDS = 30.0

app = typer.Typer(help="Certificates of the mesh: local CA, one leaf per identity.")


@app.command()
def show(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show the trusted CAs and the certificate of every identity, with their expiry.

    Example: qt certs show
    """
    rows = [asdict(row) for row in of_home(Home(home), policy.load()).held()]
    answer(rows, tables.certificates(rows), as_json)


@app.command()
def rotate(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Give every identity a new certificate now; calls go on. Otherwise at half their life.

    Example: qt certs rotate
    """
    done = of_home(Home(home), policy.load()).renew_all()
    answer({"renewed": done}, f"renewed: {', '.join(done)}", as_json)


@app.command("rotate-ca")
def rotate_ca(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Replace the CA: trust both, sign with the new one, trust it alone; calls go on.

    Example: qt certs rotate-ca
    """
    certificates = of_home(Home(home), policy.load())
    certificates.rotate_authority()
    rows = [asdict(row) for row in certificates.held()]
    answer(rows, tables.certificates(rows), as_json)


@app.command()
def keep(home: HomeOption = DEFAULT_HOME) -> None:
    """Make the certificates and renew them until stopped; `qt up` does it by itself.

    Example: qt certs keep --home /certificates
    """
    asyncio.run(_keep(of_home(Home(home), policy.load())))


async def _keep(certificates: Delivery) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    while not ended.is_set():
        for done in await asyncio.to_thread(certificates.tend):
            typer.echo(f"renewed {done}")
        try:
            await asyncio.wait_for(ended.wait(), TEND_SECONDS)
        except TimeoutError:
            continue
