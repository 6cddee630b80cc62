"""Commands that stop entries or release them: emergency stop and reset, the trading state."""

from __future__ import annotations

import asyncio
import uuid
from enum import StrEnum
from typing import Annotated

import typer

from services.ctl.commands.options import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    YesOption,
    answer,
    confirm,
)
from services.ctl.gateway_client import as_json, connected, word
from services.ctl.supervisor.home import Home

emergency = typer.Typer(
    help="Pull the emergency stop, or reset it when it is safe again.", no_args_is_help=True
)
state = typer.Typer(help="Move the account's trading state.", no_args_is_help=True)

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept with the event.")]


class State(StrEnum):
    """Trading states that can be set."""

    ACTIVE = "ACTIVE"
    REDUCING = "REDUCING"
    HALTED = "HALTED"


@emergency.command("stop")
def stop(
    reason: ReasonOption,
    yes: YesOption = False,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Close every position at market, cancel every entry and latch until a reset.

    Example: qt emergency stop --reason "exchange misprices" --yes
    """
    confirm("close every position at market and refuse entries until a reset", yes=yes)
    request_id = f"qt-{uuid.uuid4()}"

    async def ask() -> None:
        async with connected(Home(home)) as client:
            told = await client.emergency_stop(reason, request_id)
        text = (
            f"latched: {told.positions_closing} positions are being closed,"
            f" {told.orders_cancelling} entries cancelled; `qt emergency reset` releases it"
        )
        answer(as_json(told), text, json_)

    asyncio.run(ask())


@emergency.command("reset")
def reset(
    reason: ReasonOption,
    yes: YesOption = False,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Release the latch; the account stays HALTED until `qt state set ACTIVE`.

    Example: qt emergency reset --reason "looked at" --yes
    """
    confirm("release the emergency stop", yes=yes)
    request_id = f"qt-{uuid.uuid4()}"

    async def ask() -> None:
        async with connected(Home(home)) as client:
            told = await client.reset_emergency(reason, request_id)
        text = f"released; trading state {word(told, 'state')}, `qt state set ACTIVE` trades again"
        answer(as_json(told), text, json_)

    asyncio.run(ask())


@state.command("set")
def set_state(
    wanted: Annotated[State, typer.Argument(help="ACTIVE, REDUCING (exits only) or HALTED.")],
    reason: ReasonOption,
    yes: YesOption = False,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Move the account's switch for entries; exits pass in every state.

    Example: qt state set HALTED --reason "maintenance of the exchange" --yes
    """
    confirm(f"set the trading state to {wanted}", yes=yes)
    request_id = f"qt-{uuid.uuid4()}"

    async def ask() -> None:
        async with connected(Home(home)) as client:
            told = await client.set_trading_state(wanted, reason, request_id)
        text = f"trading state {word(told, 'state')}, was {word(told, 'previous_state')}"
        answer(as_json(told), text, json_)

    asyncio.run(ask())
