"""`qt policy`: the fund's policy, its history, changes and rollbacks."""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated, Any

import typer
from google.protobuf.json_format import ParseDict, ParseError
from quantum.analytics.v1 import analytics_service_pb2 as pb
from quantum.analytics.v1 import policy_pb2
from rich.table import Table

from services.ctl.commands.options import DEFAULT_HOME, HomeOption, JsonOption, answer
from services.ctl.gateway_client import as_json, connected
from services.ctl.supervisor.home import Home, Refused

app = typer.Typer(
    help="Show the fund's policy, change it, or go back to what it was.", no_args_is_help=True
)

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept with the version.")]
_ENUMS = {"system_mode": "SYSTEM_MODE_", "fund_mode": "FUND_MODE_"}
_SWITCHES = {"true": True, "false": False}


@app.command("show")
def show(
    version: Annotated[int, typer.Option("--version", help="The newest when 0.")] = 0,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Show what the fund allows.

    Example: qt policy show
    """

    async def ask() -> None:
        async with connected(Home(home)) as client:
            told = await client.policy(version)
        answer(as_json(told.version), _shown(told.version), json_)

    asyncio.run(ask())


@app.command("set")
def set_policy(
    changes: Annotated[
        list[str],
        typer.Argument(
            help="KEY=VALUE; lists as A,B, weights as NAME:0.5,NAME:0.5; empty for none.",
            metavar="KEY=VALUE...",
        ),
    ],
    reason: ReasonOption,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Make a version in which only these values differ.

    Example: qt policy set fund_mode=SAFE blocked_symbols=DOGEUSDT --reason "storm ahead"
    """
    request = pb.UpdatePolicyRequest(
        change=parsed(changes), reason=reason, request_id=f"qt-{uuid.uuid4()}"
    )
    asyncio.run(_update(request, home, json_))


@app.command("rollback")
def rollback(
    version: Annotated[int, typer.Argument(min=1, help="Version whose values to take.")],
    reason: ReasonOption,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Make a version with the values that an old one had.

    Example: qt policy rollback 3 --reason "the change did harm"
    """
    request = pb.UpdatePolicyRequest(
        rollback_to=version, reason=reason, request_id=f"qt-{uuid.uuid4()}"
    )
    asyncio.run(_update(request, home, json_))


@app.command("history")
def history(
    count: Annotated[int, typer.Option("--count", min=1, max=1000)] = 20,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """List the versions, the newest first.

    Example: qt policy history --count 5
    """

    async def ask() -> None:
        async with connected(Home(home)) as client:
            told = await client.policy(history=count)
        table = Table("version", "holds from", "by", "changed", "why")
        for version in told.history:
            table.add_row(
                str(version.policy.version),
                version.policy.effective_from.ToJsonString(),
                version.updated_by,
                ", ".join(_value(version.policy, name) for name in version.changed_fields),
                "; ".join(version.reasons),
            )
        answer([as_json(v) for v in told.history], table, json_)

    asyncio.run(ask())


@app.command("rebalance")
def rebalance(
    reason: ReasonOption,
    home: HomeOption = DEFAULT_HOME,
    json_: JsonOption = False,
) -> None:
    """Have the next round balance the portfolio.

    Example: qt policy rebalance --reason "after the deposit"
    """

    async def ask() -> None:
        async with connected(Home(home)) as client:
            told = await client.rebalance(reason, f"qt-{uuid.uuid4()}")
        text = f"asked for: the round after {told.after.ToJsonString()} balances"
        answer(as_json(told), text, json_)

    asyncio.run(ask())


async def _update(request: pb.UpdatePolicyRequest, home: Any, json_: bool) -> None:
    async with connected(Home(home)) as client:
        told = await client.update_policy(request)
    answer(as_json(told.version), _shown(told.version), json_)


def parsed(changes: list[str]) -> policy_pb2.PolicyChange:
    """Read KEY=VALUE pairs; Refused names what cannot be meant."""
    found: dict[str, Any] = {}
    known = [f.name for f in policy_pb2.PolicyChange.DESCRIPTOR.fields]
    for change in changes:
        name, separator, text = change.partition("=")
        if not separator or name not in known:
            raise Refused(f"{change!r} is not KEY=VALUE with a key of: {', '.join(known)}")
        if name in found:
            raise Refused(f"{name} is given twice")
        found[name] = _read(name, text.strip())
    try:
        return ParseDict(found, policy_pb2.PolicyChange())
    except ParseError as error:
        raise Refused(f"a value cannot be read: {error}") from error


def _read(name: str, text: str) -> Any:
    if name in _ENUMS:
        return _ENUMS[name] + text.upper()
    if name == "blocked_symbols":
        return {"symbols": [s.strip() for s in text.split(",") if s.strip()]}
    if name == "model_weights":
        return {"weights": dict(_weight(part) for part in text.split(",") if part.strip())}
    if name.endswith("_enabled"):
        if text.lower() not in _SWITCHES:
            raise Refused(f"{name}={text}: true or false")
        return _SWITCHES[text.lower()]
    return text


def _weight(part: str) -> tuple[str, float]:
    name, _, share = part.rpartition(":")
    try:
        return name.strip(), float(share)
    except ValueError as error:
        raise Refused(f"model_weights: {part!r} is not NAME:SHARE") from error


def _shown(version: policy_pb2.PolicyVersion) -> Table:
    policy = version.policy
    title = f"version {policy.version} by {version.updated_by}: {'; '.join(version.reasons)}"
    table = Table("field", "value", title=title)
    for field in policy.DESCRIPTOR.fields:
        if field.name != "version":
            changed = " (changed)" if field.name in version.changed_fields else ""
            table.add_row(f"{field.name}{changed}", _value(policy, field.name).partition("=")[2])
    return table


def _value(policy: policy_pb2.FundPolicy, name: str) -> str:
    value = as_json(policy)[name]
    if name in _ENUMS:
        value = str(value).removeprefix(_ENUMS[name])
    if isinstance(value, list):
        value = ",".join(value) or "none"
    if isinstance(value, dict):
        value = ",".join(f"{k}:{v:g}" for k, v in sorted(value.items())) or "the artifact's own"
    return f"{name}={value}"
