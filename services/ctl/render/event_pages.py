"""`docs/events.md`: what travels on the bus, from the contracts, the catalogue and the table.

A message's comment in its contract begins with its name and event type; what follows says when it
is published. Publishers and readers are those that `mesh/policy.yaml` lets publish and read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from services.catalog.events import MESSAGES
from services.catalog.subjects import STREAMS, Stream
from services.ctl.policy import Policy
from services.ctl.render.bus import OPERATOR, facts

DESCRIPTOR = Path(__file__).resolve().parents[3] / "protos" / "gen" / "descriptor.binpb"
_MESSAGE, _FIELD = 4, 2
"""Numbers of `message_type` in a file's descriptor and of `field` in a message's."""
_INTRODUCTION = """\
# Events

Made by `make gen` from the contracts, `services/catalog` and `mesh/policy.yaml`: do not edit.

Facts travel as `quantum.events.<type>.<account>.<key>` on the stream `EVENTS`, out of outboxes
only; live traffic as `quantum.live.<type>.<key>` on `LIVE`; candles on `MARKET`, those that closed
together as `quantum.market.candle.<venue>.<timeframe>.part<number>`, a symbol's past as
`quantum.market.candle.<venue>.<timeframe>.<symbol>` with the header `qt-history`, both in a
`quantum.market.v1.CandleBatch`. The payload of everything else is the protobuf message named here.
Headers: `Nats-Msg-Id` (a hash of what the message names), `traceparent`, `ce-type`, `ce-source`,
`ce-time` (market time in milliseconds). A message without an id is none of
ours: followers pass over it, work queues put it aside. Publishers and readers are those that the
bus lets through.
"""


def files(policy: Policy) -> Mapping[str, str]:
    """Return the text of each page by its path from the root of the repository."""
    return {"docs/events.md": _page(policy, comments(DESCRIPTOR))}


def comments(descriptor: Path) -> Mapping[str, str]:
    """Return the comment of every top-level message and its fields by full name, in one line."""
    found: dict[str, str] = {}
    for file in FileDescriptorSet.FromString(descriptor.read_bytes()).file:
        for place in file.source_code_info.location:
            path = list(place.path)
            if path[:1] != [_MESSAGE] or len(path) not in (2, 4):
                continue
            message = file.message_type[path[1]]
            name = f"{file.package}.{message.name}"
            if len(path) == 4 and path[2] == _FIELD:
                name = f"{name}.{message.field[path[3]].name}"
            elif len(path) == 4:
                continue
            found[name] = " ".join((place.leading_comments or place.trailing_comments).split())
    return found


def _page(policy: Policy, said: Mapping[str, str]) -> str:
    lines = [_INTRODUCTION, "## Streams", "", *_streams(), "", "## Types", ""]
    lines += ["| type | message | published by | read by | when |", "|---|---|---|---|---|"]
    for event_type, message in MESSAGES.items():
        name = message.DESCRIPTOR.full_name
        subject, publishers = _published(policy, event_type)
        when = said[name].partition(f"({event_type}):")[2].strip() or said[name]
        row = (f"`{event_type}`", f"`{name}`", publishers, _readers(policy, subject), when)
        lines.append(f"| {' | '.join(row)} |")
    for event_type, message in MESSAGES.items():
        lines += ["", f"## {event_type}", "", *_fields(message.DESCRIPTOR, said)]
    return "\n".join([*lines, ""])


def _streams() -> Iterable[str]:
    yield "| stream | subjects | kept | when full |"
    yield "|---|---|---|---|"
    for stream in STREAMS:
        subjects = ", ".join(f"`{subject}`" for subject in stream.subjects)
        full = "refuses" if stream.discard_new else "drops the oldest"
        yield f"| `{stream.name}` | {subjects} | {_kept(stream)} | {full} |"


def _kept(stream: Stream) -> str:
    parts = []
    if stream.max_age_seconds:
        hours = stream.max_age_seconds // 3600
        parts.append(f"{hours // 24} days" if hours >= 48 else f"{hours} h")
    if stream.max_messages_per_subject > 0:
        parts.append(f"{stream.max_messages_per_subject} a subject")
    size = stream.max_bytes >> 20
    return ", ".join([*parts, f"{size >> 10} GiB" if size >= 1024 else f"{size} MiB"])


def _published(policy: Policy, event_type: str) -> tuple[str, str]:
    live = f"quantum.live.{event_type}."
    told = [
        user
        for user, held in policy.bus.items()
        if any(f"{subject}.".startswith(live) for subject in held.publish)
    ]
    if told:
        return live, f"{', '.join(told)} (live)"
    owners = [user for user in policy.bus if event_type in facts(policy, user)]
    if not owners:  # in no row of the table: only the operators' own user may
        return live, f"{OPERATOR} (live)"
    return f"quantum.events.{event_type}.", ", ".join(owners)


def _readers(policy: Policy, subject: str) -> str:
    return ", ".join(
        user
        for user, held in policy.bus.items()
        if any(
            subject.startswith(pattern.removesuffix(">"))
            for patterns in held.read.values()
            for pattern in patterns
        )
    )


def _fields(message: Any, said: Mapping[str, str]) -> Iterable[str]:
    yield "| field | type | meaning |"
    yield "|---|---|---|"
    for field in message.fields:
        meaning = said.get(field.full_name, "").replace("|", "\\|")
        yield f"| `{field.name}` | {_type(field)} | {meaning} |"


_SCALARS = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def _type(field: Any) -> str:
    named = field.message_type or field.enum_type
    kind = named.full_name if named is not None else _SCALARS[field.type]
    return f"repeated {kind}" if field.is_repeated else kind
