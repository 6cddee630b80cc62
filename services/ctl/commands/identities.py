"""`qt streams` and `qt identities`: what the bus and the database need before services start."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from services.ctl import policy
from services.ctl.identities import Identities
from services.ctl.render.bus import OPERATOR
from services.ctl.supervisor.home import Refused
from services.ctl.supervisor.streams import declare
from services.kit.bus.login import BadLogin, BusLogin

WAIT_SECONDS = 60.0

Url = Annotated[str, typer.Option(envvar="NATS_URL", help="Address of the bus.")]
Seed = Annotated[
    Path | None, typer.Option(envvar="NATS_NKEY_FILE", help="Seed of the bus user `operator`.")
]
Trusted = Annotated[
    Path | None, typer.Option(envvar="NATS_CA_FILE", help="Authority of the server's certificate.")
]


def streams(
    url: Url = "nats://127.0.0.1:4222",
    nkey_file: Seed = None,
    ca_file: Trusted = None,
    replicas: Annotated[
        int, typer.Option(min=1, max=5, help="Servers that hold each message; 3 in a cluster.")
    ] = 1,
) -> None:
    """Create the streams of the bus, or bring existing ones to their declared limits.

    `qt up` does it by itself; in compose and in a cluster it runs once before the services, which
    only look whether all is as declared.

    Example: qt streams --url nats://nats:4222 --nkey-file /run/secrets/operator.nk
    """
    login = BusLogin(OPERATOR, nkey_file, ca_file)
    try:
        asyncio.run(asyncio.wait_for(declare(url, login, replicas), WAIT_SECONDS))
    except BadLogin as error:
        raise Refused(str(error)) from None
    except TimeoutError:
        raise Refused(f"{url} does not let us in or does not answer: see its log") from None
    typer.echo("the streams are as declared")


def identities(
    folder: Annotated[Path, typer.Argument(help="Where the files go; existing ones are kept.")],
) -> None:
    """Make a key for each user of the bus and a password for each role of the database.

    Writes `nats/<user>.nk` and `postgres/<role>.password` (0600), and `nats/public.env` with the
    public keys, which the bus server takes from its environment. To replace one, remove its file
    and run this again.

    Example: qt identities secrets
    """
    made = Identities(folder, policy.load())
    try:
        made.passwords()
        (folder / "nats").mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "nats" / "public.env").write_text(made.public_environment())
    except OSError as error:
        raise Refused(f"cannot write {folder}: {error.strerror}") from error
    typer.echo(made.public_environment(), nl=False)
