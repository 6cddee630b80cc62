"""Which version of the fund's policy holds at a market time."""

from __future__ import annotations

from collections.abc import Iterable

from services.trade.fund_policy import FundPolicy

_KEPT = 64


class PolicyBook:
    """Versions in their order. A version takes the place of all before it from its own time on."""

    __slots__ = ("_versions",)

    def __init__(self, versions: Iterable[FundPolicy] = ()) -> None:
        self._versions: tuple[FundPolicy, ...] = ()
        for policy in sorted(versions, key=lambda p: p.version):
            self.learn(policy)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PolicyBook) and self._versions == other._versions

    def __hash__(self) -> int:
        return hash(self.newest)

    @property
    def newest(self) -> int:
        """Number of the newest version that is known; 0 before the first."""
        return self._versions[-1].version if self._versions else 0

    @property
    def versions(self) -> tuple[FundPolicy, ...]:
        """The versions that still matter, the oldest first."""
        return self._versions

    def learn(self, policy: FundPolicy) -> bool:
        """Take in a version; False for one that is not above all known ones."""
        if policy.version <= self.newest:
            return False
        # what was to begin later than its successor never begins
        earlier = [p for p in self._versions if p.effective_from < policy.effective_from]
        self._versions = (*earlier[-_KEPT:], policy)
        return True

    def at(self, time: int) -> FundPolicy | None:
        """Return the version that holds at a market time; None before the first begins."""
        found = None
        for policy in self._versions:
            if policy.effective_from <= time:
                found = policy
        return found
