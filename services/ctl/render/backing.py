"""What the bus and the database of compose and the cluster are given, made from the one table.

`make gen` writes the files and a test proves them fresh. They hold no secret: public keys come
from the server's environment, passwords from files of the server.
"""

from __future__ import annotations

from collections.abc import Mapping

from services.ctl.policy import Policy
from services.ctl.render import bus, roles

_MARK = "# Made from mesh/policy.yaml by `make gen`: do not edit.\n"


def files(policy: Policy) -> Mapping[str, str]:
    """Return the text of each file by its path from the root of the repository."""
    variables = ", ".join(bus.VARIABLE.format(user.upper()) for user in bus.users(policy))
    return {
        "mesh/nats/users.conf": (
            f"{_MARK}# Included by nats.conf. The public keys come from the environment:\n"
            f"# {variables}.\n{bus.authorization(policy)}"
        ),
        "mesh/postgres/roles.sql": roles.script(policy),
        "mesh/postgres/cluster.sql": roles.cluster_script(policy),
        "mesh/postgres/pg_hba.conf": roles.access(policy, tls=True),
        "mesh/postgres/pg_ident.conf": roles.superusers(policy),
    }
