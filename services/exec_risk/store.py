"""The account's truth in PostgreSQL: every change of one step in one fenced transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from services.exec_risk.core import effects as fx
from services.exec_risk.core.inputs import Command, SubmitExecution
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.state import Book
from services.exec_risk.database.book_reader import BookReader
from services.exec_risk.database.commit_statement import COMMIT, Changes
from services.exec_risk.database.request_commands import command_of
from services.exec_risk.messages.facts import encode
from services.exec_risk.seams import StoreUnavailable, Switches
from services.exec_risk.tracing.step_spans import StepSpans
from services.kit.observe.telemetry import now
from services.kit.observe.trace_context import TraceContext, parse
from services.kit.postgres import outbox
from services.kit.postgres.db import TRANSIENT, Database
from services.kit.postgres.lease import Lease
from services.trade.position import TradingState
from services.trade.times import from_datetime

REQUEST_LIFE = timedelta(seconds=10)
"""How long after it was last asked a request is carried out."""
_COMMIT_SECONDS = 24 * 3600.0
_LEADER = """
insert into leader_status values ($1, $2, $3, $4, $5, $6, clock_timestamp())
on conflict (account) do update set instance = excluded.instance, connected = excluded.connected,
ready = excluded.ready, blocked_by = excluded.blocked_by, counters = excluded.counters,
updated_at = excluded.updated_at
"""


class PostgresStore:
    """The seam `Store` on PostgreSQL."""

    def __init__(
        self,
        database: Database,
        lease: Lease,
        account: str,
        venue: str,
        *,
        on_facts: Callable[[Sequence[outbox.Row]], None] | None = None,
        spans: StepSpans | None = None,
    ) -> None:
        self._database = database
        self._lease = lease
        self._account = account
        self._venue = venue
        self._on_facts = on_facts
        self._spans = spans

    async def commit(self, changes: Sequence[fx.Change]) -> Switches | None:
        """Write all changes and their facts in one transaction bound to our token.

        Fenced when the lease was superseded: nothing is written. StoreUnavailable when the
        outcome is not known; repeating is harmless.
        """
        began = now()
        messages = [encode(c, self._account, self._venue, self._place(c)) for c in _told(changes)]
        arguments = [
            *Changes(self._account, changes).arguments(),
            *outbox.arguments(messages),
            self._account,
        ]
        try:
            # one statement, so it is a transaction of its own
            found = await self._database.pool.fetch(
                COMMIT,
                self._lease.resource,
                self._lease.token,
                *arguments,
                # one that is given up may still be carried out, after what is written later
                timeout=_COMMIT_SECONDS,
            )
        except TRANSIENT as error:
            raise StoreUnavailable(str(error)) from error
        self._lease.check(held=found[0]["yes"])
        if self._spans is not None:
            self._spans.committed(changes, began)
        if self._on_facts is not None:
            by_id = {m.message_id: m for m in messages}
            new = [(r["id"], by_id[r["message_id"]]) for r in found if r["id"] is not None]
            self._on_facts(sorted(new, key=lambda row: row[0]))
        return _switches(found[0])

    async def write_status(
        self, *, connected: bool, ready: bool, blocked_by: str, counters: dict[str, float]
    ) -> None:
        """Tell the other replicas what only the leader sees."""
        try:
            async with self._database.transaction() as connection:
                await self._lease.fence(connection)
                await connection.execute(
                    _LEADER,
                    self._account,
                    self._lease.owner,
                    connected,
                    ready,
                    blocked_by,
                    json.dumps(counters),
                )
        except TRANSIENT as error:
            raise StoreUnavailable(str(error)) from error

    async def requests(self) -> list[Command]:
        """Read what operators asked and nobody has answered, oldest first."""
        try:
            found = await self._database.pool.fetch(
                "select request_id, kind, arguments, traceparent from requests"
                # nobody waits for an older one any more: carrying it out would surprise
                " where account = $1 and answered_at is null"
                " and created_at > clock_timestamp() - $2::interval"
                " order by created_at, request_id",
                self._account,
                REQUEST_LIFE,
            )
        except TRANSIENT as error:
            raise StoreUnavailable(str(error)) from error
        return [self._command(row) for row in found]

    def _command(self, row: Mapping[str, Any]) -> Command:
        command = command_of(row["request_id"], row["kind"], json.loads(row["arguments"]))
        place = parse(row["traceparent"] or "")
        if self._spans is not None:
            self._spans.asked(command.request_id, place)
        if isinstance(command, SubmitExecution) and place is not None and place.sampled:
            # what it opens goes on long after the call
            return replace(command, trace_id=place.trace_id)
        return command

    def _place(self, change: fx.Change) -> TraceContext | None:
        return None if self._spans is None else self._spans.place_of(change)

    async def load(self, policy: Policy) -> Book:
        """Read the account back as the last commit left it."""
        try:
            async with self._database.transaction() as connection:
                await self._lease.fence(connection)
                return await BookReader(self._account).read(connection, policy)
        except TRANSIENT as error:
            raise StoreUnavailable(str(error)) from error


def _switches(row: Mapping[str, Any]) -> Switches:
    latch = None
    if row["latch_reason"] is not None:
        when = from_datetime(row["latched_at"])
        latch = fx.Latch(row["latch_reason"], row["latched_by"], when)
    return Switches(TradingState(row["state"] or TradingState.ACTIVE), latch)


def _told(changes: Sequence[fx.Change]) -> list[fx.Fact | fx.AccountSnapshot]:
    found: list[fx.Fact | fx.AccountSnapshot] = []
    for change in changes:
        if isinstance(change, fx.AccountSnapshot):
            if change.published:
                found.append(change)
        elif isinstance(change, fx.FACTS):
            found.append(change)
    return found
