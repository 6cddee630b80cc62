"""Renders what containers and clusters hold of `mesh/policy.yaml` and the catalog: `make gen`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from services.ctl import policy
from services.ctl.render import bus, istio, network_policies, roles, workload_names
from services.ctl.render.cluster_names import GENERATED

TARGET = Path(__file__).resolve().parents[3] / "mesh"
RENDERED = "kubernetes/base/rendered"


def render(table: policy.Policy) -> dict[str, str]:
    """Return the text of each file by its path below `mesh/`."""
    return {
        f"{RENDERED}/names.yaml": _documents(workload_names.render()),
        f"{RENDERED}/network-policies.yaml": _documents(network_policies.render(table)),
        f"{RENDERED}/istio.yaml": _documents(istio.render(table)),
        "nats/users.conf": f"# {GENERATED}\n{bus.authorization(table)}",
        "postgres/roles.sql": roles.script(table),
        "postgres/cluster.sql": _cluster_sql(table),
        "postgres/pg_hba.conf": _access(table),
        "postgres/pg_ident.conf": _superusers(table),
    }


def write(target: Path = TARGET) -> None:
    """Put the files in place."""
    for path, text in render(policy.load()).items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text)


def _documents(documents: list[dict[str, Any]]) -> str:
    # through JSON, so that no value is the same object as another, which YAML would refer to
    separate = json.loads(json.dumps(documents))
    return f"# {GENERATED}\n{yaml.safe_dump_all(separate, sort_keys=False, width=120)}"


def _cluster_sql(table: policy.Policy) -> str:
    """Roles and schemas for the operator of a cluster, which sets the passwords itself."""
    statements = [*roles.role_statements(table), *roles.database_statements(table)]
    return "\n".join([f"-- {GENERATED}", *(f"{statement};" for statement in statements), ""])


def _access(table: policy.Policy) -> str:
    """With TLS alone; operators also inside the server's own container, as the guide has it."""
    inside = [
        f"local {roles.DATABASE} {reader} peer map=superuser" for reader in table.database.readers
    ]
    return "\n".join([roles.access(table, tls=True).rstrip(), *inside, ""])


def _superusers(table: policy.Policy) -> str:
    names = ["postgres", *table.database.readers]
    lines = [f"superuser postgres {name}" for name in names]
    return "\n".join([f"# {GENERATED}", "# map  system user  role", *lines, ""])


if __name__ == "__main__":
    write()
