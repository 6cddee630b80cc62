"""Between the fund's policy and directives and their rows."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
from google.protobuf.json_format import MessageToDict, Parse
from quantum.analytics.v1 import policy_pb2

from services.exec_risk.core.facts import DirectiveApplied
from services.exec_risk.core.state import KEEP_MS, Book
from services.trade.fund_policy import FundPolicy
from services.trade.policy_book import PolicyBook
from services.trade.policy_codec import policy_from_pb, policy_to_pb
from services.trade.times import from_datetime, to_datetime

POLICY_COLUMNS = "account, version, effective_from, policy"
DIRECTIVE_COLUMNS = "directive_id, account, symbol, result, reason, deadline, answered_at"
_POLICIES = """
select policy from fund_policies where account = $1 order by version desc limit 64
"""
_ANSWERED = """
select directive_id, deadline from directives_answered where account = $1 and deadline >= $2
"""


def policy_values(policy: FundPolicy, account: str) -> tuple[Any, ...]:
    """Return the values of POLICY_COLUMNS."""
    told = MessageToDict(
        policy_to_pb(policy),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    return account, policy.version, to_datetime(policy.effective_from), told


def policy_of(text: str) -> FundPolicy:
    """Read a policy's column."""
    return policy_from_pb(Parse(text, policy_pb2.FundPolicy()))


def answered_values(fact: DirectiveApplied, account: str) -> tuple[Any, ...]:
    """Return the values of DIRECTIVE_COLUMNS."""
    return (
        fact.directive_id,
        account,
        fact.symbol,
        fact.result,
        fact.reason,
        to_datetime(fact.deadline),
        to_datetime(fact.time),
    )


async def load(connection: asyncpg.Connection, book: Book) -> None:
    """Read policy and answered directives into the book, whose market time is known."""
    account = book.policy.account
    rows = await connection.fetch(_POLICIES, account)
    book.fund = PolicyBook(policy_of(_text(row["policy"])) for row in rows)
    since = to_datetime(max(book.time - KEEP_MS, 0))
    for row in await connection.fetch(_ANSWERED, account, since):
        book.directives[row["directive_id"]] = from_datetime(row["deadline"])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
