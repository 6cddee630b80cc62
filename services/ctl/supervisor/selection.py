"""Which parts of the system run: everything, or what was named and what that needs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.catalog.processes import AI, ANALYTICS, EXEC_RISK, PROCESSES, TRAINER, VENUE
from services.ctl.supervisor.home import Refused

GATEWAY = "gateway"
NEEDS: Mapping[str, tuple[str, ...]] = {
    "postgres": (),
    "nats": (),
    "traces": (),
    "jaeger": (),
    "prometheus": (),
    GATEWAY: ("traces",),
    VENUE.key: ("traces",),
    AI.key: ("nats", GATEWAY),
    EXEC_RISK.key: ("nats", "postgres", VENUE.key, GATEWAY),
    ANALYTICS.key: ("nats", "postgres", GATEWAY),
    TRAINER.key: ("nats", "traces"),
}
"""What each part cannot do its work without. The gateway holds the services' ports 8001 to 8003."""
NAMES = {process.name: process.key for process in (*PROCESSES, TRAINER)}
"""The guide's names, for example `ai-service`."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Parts that shall run."""

    parts: frozenset[str] = frozenset(NEEDS)

    @classmethod
    def of(cls, names: Iterable[str]) -> Selection:
        """Take the named parts and what they need; everything when none is named.

        Refused for an unknown name.
        """
        wanted = keys(names)
        return cls(_with_needs(wanted)) if wanted else cls()

    @property
    def whole(self) -> bool:
        """Whether everything shall run."""
        return self.parts == frozenset(NEEDS)

    def __contains__(self, part: str) -> bool:
        """Tell whether a part shall run."""
        return part in self.parts

    def and_also(self, other: Selection) -> Selection:
        """Add the parts of another."""
        return Selection(self.parts | other.parts)

    def without(self, names: Iterable[str]) -> Selection:
        """Leave out the named parts; Refused for one that another part still needs."""
        gone = keys(names)
        left = self.parts - gone
        for part in sorted(gone):
            users = sorted(user for user in left if part in NEEDS[user])
            if users:
                raise Refused(f"{part} is needed by {', '.join(users)}: name {_them(users)} too")
        return Selection(left)


def keys(names: Iterable[str]) -> frozenset[str]:
    """Return the parts of these names; Refused for one that does not exist."""
    found = [NAMES.get(name, name) for name in names]
    unknown = [part for part in found if part not in NEEDS]
    if unknown:
        raise Refused(f"there is no {', '.join(unknown)}; there are {', '.join(NEEDS)}")
    return frozenset(found)


def _with_needs(wanted: frozenset[str]) -> frozenset[str]:
    needed = frozenset(need for part in wanted for need in NEEDS[part])
    return wanted if needed <= wanted else _with_needs(wanted | needed)


def _them(users: list[str]) -> str:
    return "it" if len(users) == 1 else "them"
