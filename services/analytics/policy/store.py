"""The fund's policy in PostgreSQL: a row per version, written with its facts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from services.analytics.core.fund.versions import (
    FIRST_EFFECTIVE,
    Invalid,
    Version,
    differing,
    next_policy,
    values_of,
)
from services.analytics.policy.facts import facts_of, from_json, to_json
from services.kit.clock import Clock
from services.kit.errors import AlreadyExists, InvalidArgument, NotFound, Unavailable, Violation
from services.kit.postgres import outbox
from services.kit.postgres.db import Database
from services.trade.fund_modes import ModeLimits, limits_in
from services.trade.fund_policy import FundMode, FundPolicy, SystemMode
from services.trade.times import from_datetime, to_datetime

_LOCK = "select pg_advisory_xact_lock(hashtext('analytics.policy'))"
_NEWEST = "select * from policy_versions order by version desc limit 1"
_INSERT = """
insert into policy_versions (version, effective_from, fund_mode, system_mode, policy, updated_by,
    reasons, changed_fields, decided_at, request_id, request)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, nullif($10, ''), $11)
"""
_NORMAL = """
select policy from policy_versions where fund_mode = 'NORMAL' and system_mode <> 'DEFENSIVE'
order by version desc limit 1
"""
_MARKET_TIME = "select max(time) from portfolio"


class PolicyStore:
    """Makes and reads versions. Two that are made at the same time come one after the other."""

    def __init__(self, database: Database, first: FundPolicy, *, clock: Clock) -> None:
        """`first`: what holds until somebody decides otherwise."""
        self._clock = clock
        self.database = database
        self._first = first

    async def begin(self) -> None:
        """Write the first version where there is none."""
        reasons = ("first start",)
        version = Version(self._first, "settings", reasons, (), self._decided(FIRST_EFFECTIVE))
        async with self.database.transaction() as connection:
            await connection.execute(_LOCK)
            if await connection.fetchrow(_NEWEST) is None:
                await _write(connection, version, None, "", "")

    async def version(self, number: int = 0) -> Version:
        """Return a version, the newest for 0; NotFound names what is missing."""
        statement = "select * from policy_versions where version = $1" if number else _NEWEST
        row = await self.database.pool.fetchrow(statement, *([number] if number else []))
        if row is None and not number:
            raise Unavailable("no policy yet: the schema waits for its migrations")
        if row is None:
            raise NotFound(f"policy version {number} does not exist", reason="NO_SUCH_VERSION")
        return _version(row)

    async def history(self, count: int) -> list[Version]:
        """Return the newest versions, the newest first."""
        rows = await self.database.pool.fetch(
            "select * from policy_versions order by version desc limit $1", count
        )
        return [_version(row) for row in rows]

    async def above(self, number: int, count: int) -> list[FundPolicy]:
        """Return the versions above a number, the oldest first."""
        rows = await self.database.pool.fetch(
            "select policy from policy_versions where version > $1 order by version limit $2",
            number,
            count,
        )
        return [from_json(row["policy"]) for row in rows]

    async def changed_by(self, field: str) -> str:
        """Return who changed a field last; empty when it is as it was at first."""
        return str(
            await self.database.pool.fetchval(
                "select updated_by from policy_versions where $1 = any(changed_fields)"
                " order by version desc limit 1",
                field,
            )
            or ""
        )

    async def market_time(self) -> int:
        """Return the market time of the newest round that the ledger holds."""
        found = await self.database.pool.fetchval(_MARKET_TIME)
        return FIRST_EFFECTIVE if found is None else from_datetime(found)

    async def update(
        self,
        changes: Mapping[str, Any],
        *,
        by: str,
        reasons: Sequence[str],
        request_id: str = "",
        rollback_to: int = 0,
        connection: Any = None,
    ) -> Version:
        """Make the next version: only what `changes` names differs, or all as it once was.

        A repeated request id gets its first answer, and AlreadyExists when it asked for something
        else. Nothing to change gives the version that holds. InvalidArgument names the fields.
        `connection`: the caller's transaction; None opens one.
        """
        request = json.dumps(
            [rollback_to, sorted((k, _plain(v)) for k, v in changes.items())], default=str
        )
        if connection is not None:
            return await self._update(connection, changes, by, reasons, request_id, request, 0)
        async with self.database.transaction() as opened:
            return await self._update(
                opened, changes, by, reasons, request_id, request, rollback_to
            )

    async def _update(
        self,
        connection: Any,
        changes: Mapping[str, Any],
        by: str,
        reasons: Sequence[str],
        request_id: str,
        request: str,
        rollback_to: int,
    ) -> Version:
        await connection.execute(_LOCK)
        if request_id and (known := await _answered(connection, request_id, request)):
            return known
        row = await connection.fetchrow(_NEWEST)
        if row is None:
            raise Unavailable("no policy yet: analytics has not finished its start")
        before = _version(row)
        if rollback_to:
            changes = values_of(await self._old(connection, rollback_to))
        found = await connection.fetchval(_MARKET_TIME)
        time = FIRST_EFFECTIVE if found is None else from_datetime(found)
        try:
            policy = next_policy(
                before.policy, changes, normal=await self._normal(connection), time=time
            )
        except Invalid as error:
            violations = [Violation(field, rule) for field, rule in error.broken]
            raise InvalidArgument(str(error), violations=violations) from error
        changed = differing(before.policy, policy)
        if not changed:
            return before
        version = Version(policy, by, tuple(reasons), changed, self._decided(time))
        await _write(connection, version, before.policy, request_id, request)
        return version

    def _decided(self, time: int) -> int:
        """Return when a version was decided: by wall time while no market time is known."""
        return time if time > FIRST_EFFECTIVE else from_datetime(self._clock.now())

    async def _old(self, connection: Any, number: int) -> FundPolicy:
        row = await connection.fetchrow("select * from policy_versions where version = $1", number)
        if row is None:
            raise NotFound(f"policy version {number} does not exist", reason="NO_SUCH_VERSION")
        return from_json(row["policy"])

    async def _normal(self, connection: Any) -> ModeLimits:
        """Return what the fund allowed when it was last as usual."""
        text = await connection.fetchval(_NORMAL)
        return limits_in(self._first if text is None else from_json(text))


async def _answered(connection: Any, request_id: str, request: str) -> Version | None:
    row = await connection.fetchrow(
        "select * from policy_versions where request_id = $1", request_id
    )
    if row is None:
        return None
    if row["request"] != request:
        raise AlreadyExists(f"request_id {request_id} was used for another request")
    return _version(row)


async def _write(
    connection: Any, version: Version, before: FundPolicy | None, request_id: str, request: str
) -> None:
    policy = version.policy
    await connection.execute(
        _INSERT,
        policy.version,
        to_datetime(policy.effective_from),
        policy.fund_mode.value,
        policy.system_mode.value,
        to_json(policy),
        version.updated_by,
        list(version.reasons),
        list(version.changed),
        to_datetime(version.decided_at),
        request_id,
        request,
    )
    await outbox.put(connection, facts_of(version, before))


def _version(row: Mapping[str, Any]) -> Version:
    return Version(
        from_json(row["policy"]),
        row["updated_by"],
        tuple(row["reasons"]),
        tuple(row["changed_fields"]),
        from_datetime(row["decided_at"]),
    )


def _plain(value: object) -> object:
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, FundMode | SystemMode):
        return value.value
    return value
