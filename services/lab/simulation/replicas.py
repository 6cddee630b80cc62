"""The replicas that there are now: who leads, who is ready."""

from __future__ import annotations

from collections.abc import Iterator

from services.lab.simulation.replica import Replica
from services.lab.simulation.rows import Rows


class Replicas:
    """Replicas by name; a process that starts again takes the place of the one before."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.by_name: dict[str, Replica] = {}

    def __iter__(self) -> Iterator[Replica]:
        return iter(self.by_name.values())

    def __getitem__(self, name: str) -> Replica:
        return self.by_name[name]

    def alive(self) -> list[Replica]:
        """Return those that were not killed."""
        return [r for r in self.by_name.values() if r.alive]

    def leader(self) -> Replica | None:
        """Return the replica that leads and runs."""
        for replica in self.by_name.values():
            if replica.leading and replica.lease.token == self._rows.token:
                return replica
        return None

    def ready(self) -> bool:
        """True while a replica leads and has begun its work."""
        leader = self.leader()
        return leader is not None and leader.ready
