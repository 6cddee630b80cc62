"""Users of the bus and what each may do, from `mesh/policy.yaml`, as configuration of NATS.

What a user may do is a list of subjects. Some subjects of the server's own interface would undo
it and are never given: a direct read answers with a stored message under any subject that the
asker names, the update of a stream could feed it from elsewhere, and whoever may create any
consumer may change those of others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.catalog.events import MESSAGES
from services.catalog.subjects import STREAMS, deadletter
from services.ctl.policy import BusUser, Policy
from services.kit.bus.login import inbox_prefix

OPERATOR = "operator"
"""User of the supervisor and of `qt streams`: it declares streams and may do everything."""
VARIABLE = "NATS_NKEY_{}"
"""Environment variable of the server with a user's public key, where it is not written out."""

_API = "$JS.API"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects a user may publish to, those of them it may not, and those it may subscribe to."""

    publish: tuple[str, ...]
    deny: tuple[str, ...]
    subscribe: tuple[str, ...]


def users(policy: Policy) -> tuple[str, ...]:
    """Return all users, the operator first."""
    return (OPERATOR, *policy.bus)


def permissions(policy: Policy, user: str) -> Permissions:
    """Return what a service may do."""
    held = policy.bus[user]
    own = {durable for durables in held.work.values() for durable in durables}
    others = {
        (stream, durable)
        for other in policy.bus.values()
        for stream, durables in other.work.items()
        for durable in durables
        if durable not in own and stream in held.read
    }
    told = (f"quantum.events.{event_type}.>" for event_type in facts(policy, user))
    publish = (*held.publish, *told, *_reading(held))
    return Permissions(
        publish=_once(publish),
        deny=tuple(subject for pair in sorted(others) for subject in _consumer(*pair)),
        subscribe=(f"{inbox_prefix(user)}.>",),
    )


def facts(policy: Policy, user: str) -> tuple[str, ...]:
    """Return the types of the facts that a user publishes: what is told live is none."""
    live = tuple(subject for held in policy.bus.values() for subject in held.publish)
    return tuple(
        event_type
        for event_type, message in MESSAGES.items()
        if policy.bus[user].facts
        and message.DESCRIPTOR.file.package == f"quantum.{user}.v1"
        and not any(f"{subject}.".startswith(f"quantum.live.{event_type}.") for subject in live)
    )


def _reading(held: BusUser) -> Iterable[str]:
    yield from (f"{_API}.STREAM.INFO.{stream.name}" for stream in STREAMS)
    for name, subjects in held.read.items():
        yield from (f"{_API}.CONSUMER.CREATE.{name}.*.{subject}" for subject in subjects)
        yield f"{_API}.CONSUMER.MSG.NEXT.{name}.*"
    for name, durables in held.work.items():
        for durable in durables:
            yield f"$JS.ACK.{name}.{durable}.>"
            yield deadletter(name, durable)
    yield from (f"{_API}.STREAM.MSG.GET.{name}" for name in held.last)


def _consumer(stream: str, durable: str) -> tuple[str, ...]:
    return (
        f"{_API}.CONSUMER.CREATE.{stream}.{durable}.>",
        f"{_API}.CONSUMER.MSG.NEXT.{stream}.{durable}",
    )


def _once(subjects: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(subjects))


def authorization(policy: Policy, keys: Mapping[str, str] | None = None) -> str:
    """Return the block `authorization` of a NATS configuration.

    `keys` holds the public key of each user; without it they are taken from the environment of
    the server, `NATS_NKEY_<USER>`.
    """
    lines = ["authorization {", "  users: ["]
    for user in users(policy):
        key = keys[user] if keys is not None else f"${VARIABLE.format(user.upper())}"
        if user == OPERATOR:
            lines.append(f"    {{ nkey: {key} }}  # {user}")
            continue
        lines.append(f"    {{ nkey: {key}, permissions: {{  # {user}")
        granted = permissions(policy, user)
        lines += _listed("publish", granted.publish, granted.deny)
        lines += _listed("subscribe", granted.subscribe, ())
        lines.append("    } }")
    return "\n".join([*lines, "  ]", "}", ""])


def _listed(verb: str, allow: Iterable[str], deny: Iterable[str]) -> list[str]:
    lines = [f"      {verb}: {{ allow: ["]
    lines += [f"        {json.dumps(subject)}" for subject in allow]
    if deny:
        lines.append("      ], deny: [")
        lines += [f"        {json.dumps(subject)}" for subject in deny]
    return [*lines, "      ] }"]
