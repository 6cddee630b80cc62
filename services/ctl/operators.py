"""Who operates, and what was done: every command that changes something leaves a line behind.

The line is in the home at once, and on the bus as `operator.command` when there is one; what could
not be told is told by the next command.
"""

from __future__ import annotations

import asyncio
import fcntl
import getpass
import json
import os
import shlex
import socket
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from quantum.ops.v1 import operators_pb2 as pb

from services.catalog import subjects
from services.catalog.events import OPERATOR_COMMAND
from services.ctl.changes import changing
from services.ctl.operator_bus import operator_bus
from services.ctl.supervisor.home import DEFAULT, Home, Refused, read_json
from services.kit.bus.bus import Bus

WRITTEN = "operators.jsonl"
WAITING = "operators.waiting.jsonl"
TELL_SECONDS = 3.0
_LONGEST = 500
_REASONS = ("--reason", "--note")


@dataclass(frozen=True, slots=True)
class Done:
    """One command as it is written down."""

    command_id: str
    command: str
    by: str
    reason: str
    done: bool
    outcome: str
    time: str
    """Wall time of its end, ISO 8601, UTC."""


def who() -> str:
    """Return `account@machine`, with the account behind sudo where there is one."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        account = str(os.getuid())
    behind = os.environ.get("SUDO_USER", "")
    through = f" ({behind})" if behind and behind != account else ""
    return f"{account}@{socket.gethostname()}{through}"[:100]


def record(arguments: Sequence[str], *, done: bool, outcome: str) -> None:
    """Write down what was done in the home that it was done to, and tell it."""
    name = changing(arguments)
    home = Home(Path(_value(arguments, ("--home",)) or DEFAULT))
    if not name or not home.run.exists():
        return
    entry = Done(
        command_id=f"command-{uuid.uuid4()}",
        command=shlex.join(arguments)[:_LONGEST],
        by=who(),
        reason=_value(arguments, _REASONS),
        done=done,
        outcome=outcome[:_LONGEST],
        time=datetime.now(UTC).isoformat(),
    )
    line = json.dumps(asdict(entry)) + "\n"
    for file in (WRITTEN, WAITING):
        _append(home.root / file, line)
    asyncio.run(_tell(home))


def _value(arguments: Sequence[str], options: Sequence[str]) -> str:
    for place, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name in options:
            return value if equals else " ".join(arguments[place + 1 : place + 2])
    return ""


def _append(file: Path, line: str) -> None:
    file.touch(mode=0o600)
    with file.open("a") as opened:
        opened.write(line)


async def _tell(home: Home) -> None:
    """Publish what waits; it goes on waiting when nobody is there to take it."""
    if not read_json(home.endpoints_file).get("nats") or not home.supervised():
        return
    with (home.root / WAITING).open("r+") as waiting:
        fcntl.flock(waiting, fcntl.LOCK_EX)
        try:
            async with asyncio.timeout(TELL_SECONDS), operator_bus(home) as bus:
                for line in waiting.readlines():
                    entry = _read(line)
                    if entry is not None:
                        await _publish(bus, entry)
        except (Refused, TimeoutError):
            return
        waiting.truncate(0)


def _read(line: str) -> Done | None:
    """Return a line; None for one that a crash cut off, which the other file has too."""
    try:
        return Done(**json.loads(line))
    except (ValueError, TypeError):
        return None


async def _publish(bus: Bus, entry: Done) -> None:
    at = datetime.fromisoformat(entry.time)
    told = pb.OperatorCommand(
        command_id=entry.command_id,
        command=entry.command,
        by=entry.by,
        reason=entry.reason,
        done=entry.done,
        outcome=entry.outcome,
    )
    told.time.FromDatetime(at)
    await bus.publish(
        subjects.operator_command(entry.command.partition(" ")[0]),
        told.SerializeToString(),
        message_id=entry.command_id,
        headers={
            subjects.HEADER_TYPE: OPERATOR_COMMAND,
            subjects.HEADER_SOURCE: "qt",
            subjects.HEADER_TIME: str(int(at.timestamp() * 1000)),
        },
    )
