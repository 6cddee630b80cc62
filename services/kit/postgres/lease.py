"""Lease: who may act for a resource, as one fenced row in PostgreSQL.

Taking the row raises its token; every write compares the token in its own transaction, so that a
holder that was frozen and deposed can write nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import asyncpg

from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.kit.postgres.db import TRANSIENT, Database

log = get_logger(__name__)

_NOW = "select clock_timestamp()"
_TAKE = """
insert into lease as l (resource, token, owner, expires)
select $1, 1, $2, clock_timestamp() + $3 where clock_timestamp() < $4
on conflict (resource) do update
set token = l.token + 1, owner = excluded.owner, expires = excluded.expires
where l.expires < clock_timestamp()
returning token
"""
"""The last parameter, by the database's own clock, keeps a request that lay in a frozen server
from taking the lease when nobody waits for it any more."""
_RENEW = """
update lease set expires = clock_timestamp() + $3 where resource = $1 and token = $2 returning token
"""
_RELEASE = "update lease set expires = clock_timestamp() where resource = $1 and token = $2"
FENCE = "select true from lease where resource = $1 and token = $2 for share"
"""A row while the token is ours, which nobody can take before the transaction has ended."""


class Fenced(Exception):
    """Another replica took the lease; nothing was written."""


class Lease:
    """One replica's hold on one resource."""

    def __init__(
        self,
        database: Database,
        resource: str,
        owner: str,
        clock: Clock,
        *,
        ttl: float = 2.0,
        outlasts: bool = False,
    ) -> None:
        """`outlasts`: only another holder ends the hold, not a database that does not answer.

        Who is not `held` then may do nothing that is not harmless beside another holder.
        """
        self._database = database
        self._clock = clock
        self._ttl = timedelta(seconds=ttl)
        self._outlasts = outlasts
        self._valid_until = 0.0
        self._not_before = 0.0
        self.resource = resource
        self.owner = owner
        self.token = 0

    @property
    def held(self) -> bool:
        """True while the row is surely ours by our own monotonic clock."""
        return self.token > 0 and self._clock.monotonic() < self._valid_until

    async def take(self) -> bool:
        """Try once to take the row; True when it is ours now."""
        asked = self._clock.monotonic()
        now = await self._database.pool.fetchval(_NOW)
        if self._clock.monotonic() < self._not_before:
            return False
        token = await self._database.pool.fetchval(
            _TAKE, self.resource, self.owner, self._ttl, now + self._ttl / 2
        )
        if token is None:
            return False
        self.token = int(token)
        self._valid_until = asked + self._ttl.total_seconds()
        log.info("lease_taken", resource=self.resource, token=self.token)
        return True

    async def renew(self) -> bool:
        """Extend our hold; False when another replica took the row."""
        asked = self._clock.monotonic()
        token = await self._database.pool.fetchval(_RENEW, self.resource, self.token, self._ttl)
        if token is None:
            self.lose()
            return False
        self._valid_until = asked + self._ttl.total_seconds()
        return True

    async def wait(self) -> None:
        """Try until the row is ours: a standby lives here.

        After the database was away the one who held the row has a time-to-live to come back: it
        may have acted meanwhile and has that to write down.
        """
        while True:
            try:
                if await self.take():
                    return
            except TRANSIENT as error:
                log.warning("lease_unreachable", resource=self.resource, error=str(error))
                self._not_before = self._clock.monotonic() + self._ttl.total_seconds()
            await self._clock.sleep(self._ttl.total_seconds() / 8)

    async def keep(self, on_lost: Callable[[], None]) -> None:
        """Renew four times per time-to-live; call `on_lost` once when the hold is gone."""
        while True:
            await self._clock.sleep(self._ttl.total_seconds() / 4)
            try:
                async with asyncio.timeout(self._ttl.total_seconds() / 2):
                    renewed = await self.renew()
            except TRANSIENT as error:
                log.warning("lease_not_renewed", resource=self.resource, error=str(error))
                renewed = self.held or self._outlasts
            if not renewed:
                self.lose()
                log.error("lease_lost", resource=self.resource)
                on_lost()
                return

    async def fence(self, connection: asyncpg.Connection) -> None:
        """Bind a transaction to our token; Fenced when it is not ours any more."""
        self.check(held=await connection.fetchval(FENCE, self.resource, self.token))

    def check(self, *, held: bool | None) -> None:
        """Take the result of a statement that had FENCE in it; Fenced when it did not hold."""
        if not held:
            self.lose()
            raise Fenced(f"{self.resource}: token {self.token} was superseded")

    def lose(self) -> None:
        """Forget the hold."""
        self._valid_until = 0.0

    async def release(self) -> None:
        """Give the row back so that a standby need not wait."""
        if self.token:
            self.lose()
            await self._database.pool.execute(_RELEASE, self.resource, self.token)
