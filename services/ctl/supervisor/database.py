"""The database of the system: one, with a schema and a login role per service."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping

import asyncpg

from services.catalog.processes import ANALYTICS, EXEC_RISK
from services.ctl.policy import Policy
from services.ctl.render import roles
from services.ctl.render.roles import DATABASE

__all__ = ["DATABASE", "OPERATORS", "OWNERS", "create"]

OPERATORS = "quantum_user"
OWNERS = (EXEC_RISK.key, ANALYTICS.key)
_ITERATIONS = 4096


async def create(
    superuser_dsn: str, database_dsn: str, policy: Policy, passwords: Mapping[str, str]
) -> None:
    """Bring roles, database and schemas to what is declared; passwords are renewed."""
    connection = await asyncpg.connect(superuser_dsn)
    try:
        known = "select 1 from pg_database where datname = $1"
        if not await connection.fetchval(known, DATABASE):
            await connection.execute(f"create database {DATABASE}")
        for statement in roles.role_statements(policy):
            await connection.execute(statement)
        for role, password in passwords.items():
            await connection.execute(f"alter role {role} password '{verifier(password)}'")
    finally:
        await connection.close()
    connection = await asyncpg.connect(database_dsn)
    try:
        for statement in roles.database_statements(policy):
            await connection.execute(statement)
    finally:
        await connection.close()


def verifier(password: str) -> str:
    """Return what PostgreSQL keeps of a password, so that it never sees the password itself.

    RFC 5802 with SHA-256; the password is ASCII, which SASLprep leaves as it is.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    shown = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return "SCRAM-SHA-256${}:{}${}:{}".format(_ITERATIONS, *shown)
