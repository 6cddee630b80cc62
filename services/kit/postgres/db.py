"""PostgreSQL: a pool that heals itself, and transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from services.kit.postgres.login import Where, options

TRANSIENT: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.TransactionTimeoutError,
)
"""Errors that mean "try again": the server went away, or this statement lost a race.

After one of these it is not known whether a commit happened; whatever is repeated must be
idempotent.
"""

Connection = asyncpg.Connection


async def _as_it_is(_: asyncpg.Connection) -> None:
    """Give a connection back without asyncpg's reset, a round trip after every statement.

    An open transaction is rolled back nevertheless; whoever changes anything else about a session,
    such as an advisory lock that outlives its transaction, undoes it.
    """


class Database:
    """A pool of connections to one schema."""

    def __init__(self, pool: asyncpg.Pool, where: Where, schema: str) -> None:
        self.pool = pool
        self.where = where
        self.schema = schema

    @classmethod
    async def connect(
        cls,
        where: Where,
        *,
        schema: str,
        application_name: str,
        min_size: int = 1,
        max_size: int = 4,
        transaction_timeout_ms: int = 30_000,
        command_timeout: float = 30.0,
    ) -> Database:
        """Open the pool. Unqualified names in statements are those of the schema.

        The transaction time-out lets the server end a transaction of a frozen process, so that
        its locks cannot hold up a take-over.
        """
        pool = await asyncpg.create_pool(
            **options(where),
            min_size=min_size,
            max_size=max_size,
            command_timeout=command_timeout,
            reset=_as_it_is,
            server_settings={
                "application_name": application_name,
                "search_path": schema,
                "timezone": "UTC",
                "transaction_timeout": str(transaction_timeout_ms),
            },
        )
        return cls(pool, where, schema)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Run the body in one transaction: committed at its end, rolled back by an exception."""
        async with self.pool.acquire() as connection, connection.transaction():
            yield connection

    async def answers(self) -> bool:
        """Say whether the server answers a query now."""
        try:
            return bool(await self.pool.fetchval("select true", timeout=2.0))
        except TRANSIENT:
            return False

    async def close(self) -> None:
        """Close the pool; connections that hang are cut."""
        try:
            await self.pool.close()
        except TRANSIENT:
            self.pool.terminate()
