"""`qt token`: tokens for people and programs, and the keys that sign them."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer
from rich.table import Table

from services.ctl import policy, tokens
from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.supervisor.home import Home, Refused

app = typer.Typer(
    help="Prints a token for the gateway; shows and rotates the keys that sign tokens.\n\n"
    "Example: qt token --role trader --for 1h --name alice",
    invoke_without_command=True,
)


@app.callback()
def token(
    context: typer.Context,
    role: Annotated[str, typer.Option(help="viewer, trader, operator or admin.")] = "viewer",
    span: Annotated[str, typer.Option("--for", help="How long, for example 30m or 12h.")] = "1h",
    name: Annotated[str, typer.Option(help="Who it is for: the log names it.")] = "",
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Print a token. Who has it may do what the role may, until it ends.

    Example: qt token --role trader --for 1h --name alice
    """
    if context.invoked_subcommand is not None:
        return
    place = Home(home)
    _require_home(place)
    issued = _issuer(place).issue(role, tokens.seconds_of(span), name or f"{role}:unnamed")
    told = tokens.claims(issued)
    value = {"token": issued, "role": role, "subject": told["sub"], "expires": told["exp"]}
    if json_:
        answer(value, "", as_json=True)
    else:
        typer.echo(issued)


@app.command("keys")
def keys(home: HomeOption = DEFAULT_HOME, json_: JsonOption = False) -> None:
    """Show the public keys that tokens are checked with.

    Example: qt token keys --json
    """
    place = Home(home)
    _require_home(place)
    issuer = _issuer(place)
    table = Table("key", "signs from", "last token ends", title="keys that are accepted")
    for key in issuer.accepted():
        table.add_row(key.kid, _clock(key.signs_from), _clock(key.last_expiry))
    answer(issuer.jwks(), table, json_)


@app.command("rotate")
def rotate(
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Drop the old keys now: every old token is refused.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Sign with a new key; old tokens stay good until they end, unless they are revoked.

    Example: qt token rotate
    """
    place = Home(home)
    _require_home(place)
    fresh = _issuer(place).rotate(revoke=revoke)
    what = "every token so far is refused" if revoke else "tokens so far stay good until they end"
    when = "" if place.supervised() else "; nothing runs: it is taken at the next start"
    value = {"key": fresh.kid, "signs_from": fresh.signs_from, "revoked": revoke}
    answer(value, f"new key {fresh.kid}; {what}{when}", json_)


def _issuer(home: Home) -> tokens.Issuer:
    return tokens.Issuer(home, policy.load())


def _require_home(home: Home) -> None:
    if not home.run.exists():
        raise Refused(f"{home.root} is no home of this system: start it with `qt up`")


def _clock(seconds: float) -> str:
    if not seconds:
        return "-"
    return f"{datetime.datetime.fromtimestamp(seconds, datetime.UTC):%Y-%m-%d %H:%M:%S}"
