"""The fund's policy as it is stored, copied and told."""

from __future__ import annotations

from google.protobuf.json_format import MessageToJson, Parse
from google.protobuf.message import Message
from quantum.analytics.v1 import policy_pb2 as pb

from services.analytics.core.fund.versions import Version
from services.catalog import subjects
from services.catalog.events import POLICY_UPDATED, SYSTEM_MODE_CHANGED
from services.catalog.processes import ANALYTICS
from services.kit.bus.message import Outgoing
from services.kit.observe.trace_context import traceparent
from services.trade.codec import enum_to_pb, time_to_pb
from services.trade.fund_policy import FundPolicy
from services.trade.ids import digest
from services.trade.policy_codec import policy_from_pb, policy_to_pb

FUND = "fund"
"""Key of facts that belong to the fund, and account token where they belong to no account."""


def to_json(policy: FundPolicy) -> str:
    """Write a policy for a column that people read."""
    return MessageToJson(
        policy_to_pb(policy),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )


def from_json(text: str) -> FundPolicy:
    """Read it back; CodecError names what breaks a rule."""
    return policy_from_pb(Parse(text, pb.FundPolicy()))


def copy_of(policy: FundPolicy, *, after: int, end: int) -> Outgoing:
    """Return the copy for the key-value store; it is refused unless `after` is the key's last.

    `end` is the bucket's last sequence: a copy that was lost is no duplicate when written again.
    """
    return Outgoing(
        subjects.FUND_POLICY,
        policy_to_pb(policy).SerializeToString(deterministic=True),
        digest("policy", policy.version, after, end),
        {
            subjects.HEADER_TYPE: POLICY_UPDATED,
            subjects.HEADER_SOURCE: ANALYTICS.name,
            subjects.HEADER_TIME: str(policy.effective_from),
            "Nats-Expected-Last-Subject-Sequence": str(after),
        },
    )


def version_to_pb(version: Version) -> pb.PolicyVersion:
    """Write a version with how it came about."""
    return pb.PolicyVersion(
        policy=policy_to_pb(version.policy),
        updated_by=version.updated_by,
        reasons=version.reasons,
        changed_fields=version.changed,
        time=time_to_pb(version.decided_at),
    )


def facts_of(version: Version, previous: FundPolicy | None) -> list[Outgoing]:
    """Return the facts of a new version."""
    policy, time = version.policy, version.decided_at
    updated = pb.PolicyUpdated(
        previous=None if previous is None else policy_to_pb(previous),
        current=policy_to_pb(policy),
        changed_fields=version.changed,
        updated_by=version.updated_by,
        reasons=version.reasons,
        time=time_to_pb(time),
    )
    facts = [fact(POLICY_UPDATED, updated, FUND, FUND, time, policy.version)]
    if previous is not None and previous.system_mode is not policy.system_mode:
        moved = pb.SystemModeChanged(
            previous_mode=enum_to_pb(previous.system_mode),
            new_mode=enum_to_pb(policy.system_mode),
            reason="; ".join(version.reasons),
            changed_by=version.updated_by,
            allow_new_trades=policy.entries_allowed,
            time=time_to_pb(policy.effective_from),
        )
        facts.append(fact(SYSTEM_MODE_CHANGED, moved, FUND, FUND, time, policy.version))
    return facts


def fact(
    event_type: str, message: Message, account: str, key: str, time: int, *names: str | int
) -> Outgoing:
    """Return a fact of the fund level; `names` tell it from others of its type and key."""
    message_id = digest(event_type, account, key, *names)
    return Outgoing(
        subjects.event(event_type, account, key),
        message.SerializeToString(),
        message_id,
        {
            subjects.HEADER_TYPE: event_type,
            subjects.HEADER_SOURCE: ANALYTICS.name,
            subjects.HEADER_TIME: str(time),
            subjects.HEADER_TRACE: traceparent(message_id),
        },
    )
