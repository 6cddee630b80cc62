"""Login roles of the database and what each may do, from `mesh/policy.yaml`, as SQL.

Every service owns the schema of its name and sees no other; operators read all and write nothing.
Statements may be run again and again: they bring what exists to what is declared.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.ctl.policy import Policy

DATABASE = "quantum_trader"
OWNER_CONNECTIONS = 80
"""Most connections of a service, all replicas together: one that runs wild leaves the others
theirs. A replica opens eleven at the most; the server takes 200."""
READER_CONNECTIONS = 10
SUPERUSERS = "superuser"
"""Map in `pg_ident.conf`."""

_CREATE = """\
select format('create database %I', name) from (values (:'database')) as wanted (name)
  where not exists (select from pg_database where datname = name) \\gexec"""
_QUIET = "set client_min_messages = warning;"
_ATTRIBUTES = "login nosuperuser nocreatedb nocreaterole noreplication nobypassrls"


def login_roles(policy: Policy) -> tuple[str, ...]:
    """Return the roles that log in."""
    return (*policy.database.owners, *policy.database.readers)


def role_statements(policy: Policy) -> list[str]:
    """Return what makes the roles, without their passwords; run in any database."""
    found = []
    for role in login_roles(policy):
        owner = role in policy.database.owners
        limit = OWNER_CONNECTIONS if owner else READER_CONNECTIONS
        found += [
            f"do $$ begin if not exists (select from pg_roles where rolname = '{role}')"
            f" then create role {role}; end if; end $$",
            f"alter role {role} {_ATTRIBUTES} connection limit {limit}",
        ]
        if owner:
            found.append(f"alter role {role} set search_path = {role}")
        else:
            owned = ", ".join(policy.database.owners)
            found += [
                f"grant pg_read_all_data to {role}",
                f"alter role {role} set search_path = {owned}",
                f"alter role {role} set default_transaction_read_only = on",
            ]
    return found


def database_statements(policy: Policy) -> list[str]:
    """Return what makes the schemas and says who may connect; run in the database itself."""
    names = ", ".join(login_roles(policy))
    found = [
        f"revoke all on database {DATABASE} from public, {names}",
        f"grant connect on database {DATABASE} to {names}",
        "revoke all on schema public from public",
    ]
    for owner in policy.database.owners:
        found += [
            f"create schema if not exists {owner} authorization {owner}",
            f"alter schema {owner} owner to {owner}",
            f"revoke all on schema {owner} from public",
        ]
    return found


def script(policy: Policy) -> str:
    """Return a script for psql that makes all of it on a fresh server.

    Passwords are read from the files `/run/secrets/<role>_postgres_password` of the server.
    """
    lines = [
        "-- Made from mesh/policy.yaml by `make gen`: do not edit.",
        "-- Passwords come from /run/secrets/<role>_postgres_password and are hashed before they"
        " are stored.",
        "\\set ON_ERROR_STOP on",
        _QUIET,
        "set password_encryption = 'scram-sha-256';",
        f"\\set database {DATABASE}",
        _CREATE,
        *_ended(role_statements(policy)),
    ]
    for role in login_roles(policy):
        lines += [
            f"\\set secret `cat /run/secrets/{role}_postgres_password`",
            f"alter role {role} password :'secret';",
        ]
    lines += [
        "\\unset secret",
        f"\\connect {DATABASE}",
        _QUIET,
        *_ended(database_statements(policy)),
    ]
    return "\n".join([*lines, ""])


def access(policy: Policy, *, tls: bool) -> str:
    """Return `pg_hba.conf`: each role only to its database and with its password.

    With TLS nothing is taken in plain text. Through the server's own socket its system user comes
    as the superuser and, as the guide has it, as an operator.
    """
    kind = "hostssl" if tls else "host"
    lines = [
        "# Made from mesh/policy.yaml by `make gen`: do not edit.",
        "# type database user address method",
        f"local all postgres peer map={SUPERUSERS}",
        *(f"{kind} {DATABASE} {role} all scram-sha-256" for role in login_roles(policy)),
        *(f"local {DATABASE} {role} peer map={SUPERUSERS}" for role in policy.database.readers),
    ]
    return "\n".join([*lines, ""])


def superusers(policy: Policy) -> str:
    """Return `pg_ident.conf`: as whom the server's system user may come through its socket."""
    lines = [
        "# Made from mesh/policy.yaml by `make gen`: do not edit.",
        "# map system-user role",
        *(f"{SUPERUSERS} postgres {role}" for role in ("postgres", *policy.database.readers)),
    ]
    return "\n".join([*lines, ""])


def cluster_script(policy: Policy) -> str:
    """Return roles and schemas for the operator of a cluster, which sets the passwords itself."""
    statements = [*role_statements(policy), *database_statements(policy)]
    return "\n".join(
        ["-- Made from mesh/policy.yaml by `make gen`: do not edit.", *_ended(statements), ""]
    )


def _ended(statements: Iterable[str]) -> list[str]:
    return [f"{statement};" for statement in statements]
