"""What an earlier supervisor left running, until it is adopted or ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from services.ctl.supervisor.child import Child, end_all, strays
from services.ctl.supervisor.home import Home, read_json
from services.ctl.supervisor.unit import Unit


class Leftovers:
    """The processes of one home that nobody watches."""

    def __init__(self, home: Home) -> None:
        """None is known before `find`."""
        self._home = home
        self._children: dict[str, Child] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._children

    def find(self) -> set[str]:
        """Find what runs of what the home's file names; return the names."""
        for name, entry in read_json(self._home.processes_file).items():
            child = Child.adopt(entry)
            if child is not None:
                self._children[name] = child
        return set(self._children)

    def adopt(self, name: str) -> Child | None:
        """Hand a process over to who watches it from now on."""
        return self._children.pop(name, None)

    async def end_unwanted(self, units: Iterable[Unit]) -> None:
        """End what is not wanted as it runs: other settings, or started just before a crash."""
        wanted = {unit.name: unit.fingerprint for unit in units}
        unwanted = {
            name: child
            for name, child in self._children.items()
            if wanted.get(name) != child.fingerprint
        }
        for name in unwanted:
            del self._children[name]
        known = {child.pid for child in self._children.values()}
        found = await asyncio.to_thread(strays, self._home.root, known)
        await end_all([*unwanted.values(), *found])

    async def end(self) -> None:
        """End all of them in order."""
        await end_all(list(self._children.values()))
        self._children.clear()

    def entries(self) -> dict[str, Any]:
        """Return what the home's file says of each."""
        return {name: child.entry() for name, child in self._children.items()}
