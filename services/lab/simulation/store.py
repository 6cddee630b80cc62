"""The seam `Store`: rows that survive everything, fenced by the real lease, with faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from services.exec_risk.core import effects as fx
from services.exec_risk.core.inputs import Command
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.state import Book
from services.exec_risk.seams import StoreUnavailable, Switches
from services.kit.postgres import lease as leases
from services.lab.simulation.faults import Fault, Faults
from services.lab.simulation.network import Network
from services.lab.simulation.rows import Rows, Status, apply, read

REQUEST_SECONDS = 10.0


def wall(seconds: float) -> datetime:
    """Return the database's own wall time."""
    return datetime.fromtimestamp(seconds, UTC)


class LeaseRow:
    """The lease's row behind the two calls that `kit.postgres.lease` makes of a pool."""

    def __init__(self, rows: Rows, network: Network) -> None:
        self._rows, self._network = rows, network
        self.pool = self

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        """Carry out one statement of the lease."""
        return await self._network.ask(lambda: self._run(query, *arguments[1:]), longest=0.005)

    async def execute(self, query: str, *arguments: Any) -> None:
        """Carry out one statement of the lease."""
        await self.fetchval(query, *arguments)

    def _run(self, query: str, *arguments: Any) -> Any:
        rows, now = self._rows, self._network.loop.time()
        if now < rows.away_until:
            raise ConnectionRefusedError("the database is away")
        if query == leases._NOW:
            return wall(now)
        if query == leases._TAKE:
            owner, ttl, latest = arguments
            if wall(now) >= latest:
                return None
            if rows.token and rows.expires >= now:
                return None
            rows.taken_over += bool(rows.owner) and owner[0] != rows.owner[0]
            rows.token, rows.owner = rows.token + 1, owner
            rows.expires = now + ttl.total_seconds()
            return rows.token
        if query == leases._RENEW:
            token, ttl = arguments
            if token != rows.token:
                return None
            rows.expires = now + ttl.total_seconds()
            return token
        if arguments[0] == rows.token:
            rows.expires = now
        return None


class Witness(Protocol):
    """Who sees every commit before and after it is applied."""

    def committing(self, replica: str, changes: Sequence[fx.Change]) -> None:
        """A commit that the fence lets through is about to be applied."""
        ...

    def committed(self, replica: str, changes: Sequence[fx.Change]) -> None:
        """It was applied."""
        ...


class MemoryStore:
    """Satisfies `services.exec_risk.seams.Store`: one transaction a commit, or nothing."""

    def __init__(
        self,
        *,
        replica: str,
        rows: Rows,
        lease: leases.Lease,
        network: Network,
        faults: Faults,
        witness: Witness,
    ) -> None:
        self._replica = replica
        self._rows = rows
        self._lease = lease
        self._network = network
        self._faults = faults
        self._witness = witness

    async def commit(self, changes: Sequence[fx.Change]) -> Switches | None:
        """Apply all changes; a fault leaves it open whether they held."""
        kept = list(changes)
        if self._faults.strikes(Fault.STORE_BEFORE, 0.02):
            await self._network.wait(self._network.hop())
            raise StoreUnavailable("before")
        token = self._lease.token
        before = Switches(self._rows.trading_state, self._rows.latch)
        held = await self._ask(lambda: self._apply(token, kept))
        if self._faults.strikes(Fault.STORE_AFTER, 0.02):
            raise StoreUnavailable("after")
        self._lease.check(held=held)
        return before

    async def _ask(self, act: Callable[[], Any]) -> Any:
        def unless_away() -> Any:
            if self._network.loop.time() < self._rows.away_until:
                raise StoreUnavailable("the database is away")
            return act()

        return await self._network.ask(unless_away, longest=0.004)

    def _apply(self, token: int, changes: Sequence[fx.Change]) -> bool:
        rows = self._rows
        if token != rows.token:
            return False
        self._witness.committing(self._replica, changes)
        for change in changes:
            apply(rows, change)
        self._witness.committed(self._replica, changes)
        return True

    async def load(self, policy: Policy) -> Book:
        """Read everything back as the last commit left it."""
        token = self._lease.token

        def act() -> Book | None:
            return read(self._rows, policy) if token == self._rows.token else None

        book: Book | None = await self._ask(act)
        self._lease.check(held=book is not None)
        assert book is not None  # noqa: S101 - the check above raises
        return book

    async def requests(self) -> list[Command]:
        """Read what operators asked lately and nobody has answered."""
        rows, now = self._rows, self._network.loop.time()
        if now < rows.away_until:
            await self._network.wait(self._network.hop())
            raise StoreUnavailable("the database is away")
        return [
            command
            for request, (command, asked) in rows.requests.items()
            if request not in rows.answers and now - asked < REQUEST_SECONDS
        ]

    async def write_status(
        self, *, connected: bool, ready: bool, blocked_by: str, counters: dict[str, float]
    ) -> None:
        """Tell the other replicas what only the leader sees."""
        token = self._lease.token

        def act() -> bool:
            if token == self._rows.token:
                self._rows.status = Status(connected, ready, blocked_by, counters)
            return token == self._rows.token

        self._lease.check(held=await self._ask(act))
