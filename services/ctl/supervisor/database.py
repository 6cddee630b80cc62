"""The database of the system: one, with a schema and a login role per service."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from services.catalog.processes import ANALYTICS, EXEC_RISK

DATABASE = "quantum_trader"
OPERATORS = "quantum_user"
OWNERS = (EXEC_RISK.key, ANALYTICS.key)


async def create(superuser_dsn: str, database_dsn: str, secrets: Mapping[str, str]) -> None:
    """Create roles, database and schemas; what exists is left as it is, passwords are renewed."""
    connection = await asyncpg.connect(superuser_dsn)
    try:
        for role in (*OWNERS, OPERATORS):
            await _role(connection, role, secrets[role])
        known = "select 1 from pg_database where datname = $1"
        if not await connection.fetchval(known, DATABASE):
            await connection.execute(f"create database {DATABASE}")
        await connection.execute(f"grant pg_read_all_data to {OPERATORS}")
        await connection.execute(
            f"alter role {OPERATORS} set search_path = {EXEC_RISK.key}, {ANALYTICS.key}"
        )
        for owner in OWNERS:
            # `create schema if not exists` of the migrations asks for this right in any case
            await connection.execute(f"grant create on database {DATABASE} to {owner}")
    finally:
        await connection.close()
    await _schemas(database_dsn)


async def _role(connection: asyncpg.Connection, role: str, password: str) -> None:
    if not await connection.fetchval("select 1 from pg_roles where rolname = $1", role):
        await connection.execute(f"create role {role} login")
    quoted = await connection.fetchval("select quote_literal($1::text)", password)
    await connection.execute(f"alter role {role} password {quoted}")


async def _schemas(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for owner in OWNERS:
            await connection.execute(
                f"create schema if not exists {owner} authorization {owner};"
                f"alter role {owner} set search_path = {owner}"
            )
    finally:
        await connection.close()
