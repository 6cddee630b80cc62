"""Keeps what was decided: one writer, in the order of the decisions, for as long as it takes.

While PostgreSQL is away the steps wait in line; whoever waits for one is told so after a bounded
time and may go on with what is harmless without it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from services.exec_risk.core.effects import Change, StoreProgress
from services.exec_risk.core.facts import EmergencyReset, EmergencyStopped, TradingStateChanged
from services.exec_risk.seams import Store, StoreUnavailable, Switches
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

_RETRY_SECONDS = 0.2
_WATCH_SECONDS = 0.25
_LINGER_SECONDS = 0.05
"""How long what can wait is held back for a step to be written with."""
_AT_ONCE = 256
"""Changes after which no further step joins a transaction: it must end within the lease's life."""


@dataclass(slots=True)
class Step:
    """One step in line."""

    changes: Sequence[Change]
    since: float
    """Seconds that the process had lived when it began to wait."""
    can_wait: bool = False
    """True while nobody waits for it: it may be written with the next step."""
    settled: asyncio.Future[int | None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """Wall time (ms) before the write that held; None when it did not hold in time."""
    then: list[Callable[[int], None]] = field(default_factory=list)
    """Called with that wall time when the write holds after all."""

    def settle(self, signed_at: int | None) -> None:
        """Tell whoever waits."""
        if not self.settled.done():
            self.settled.set_result(signed_at)


def can_wait(changes: Sequence[Change]) -> bool:
    """Tell whether nobody waits for changes: what protection has seen of the market, no fact."""
    return all(isinstance(change, StoreProgress) for change in changes)


class Keeper:
    """Writes steps to the store. A commit of unknown outcome is repeated before anything else."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        patience: float,
        deposed_after: float,
        on_kept: Callable[[Switches | None], None],
    ) -> None:
        """`deposed_after`: seconds of sleep in which another replica may have taken over."""
        self._store = store
        self._clock = clock
        self._patience = patience
        self._deposed_after = deposed_after
        self._on_kept = on_kept
        self._line: deque[Step] = deque()
        self._wake = asyncio.Event()
        self._silent_since: float | None = None
        self._asked_at = 0.0
        self._woke: float | None = None
        """When a long sleep was noticed; None once a fence that was asked since then has held."""
        self._lived = 0.0
        self._seen = clock.monotonic()
        self.away = False
        """True from when the store has not answered for the patience until it has kept all."""

    @property
    def idle(self) -> bool:
        """True when everything is kept."""
        return not self._line

    @property
    def waiting(self) -> int:
        """Steps that are not kept yet."""
        return len(self._line)

    def put(self, changes: Sequence[Change], *, can_wait: bool = False) -> Step:
        """Keep the changes of a step; `settled` says when it holds, or that it is waited for.

        What `can_wait` is held back for a moment: a commit of its own would hold up the decision
        that follows it.
        """
        step = Step(changes, self._lived, can_wait)
        self._line.append(step)
        self._wake.set()
        if self.away and not self._may_be_deposed():
            step.settle(None)
        return step

    def hurry(self) -> None:
        """Hold nothing back: somebody waits until all is kept."""
        for step in self._line:
            step.can_wait = False
        self._wake.set()

    def asked(self) -> None:
        """Learn that the store was asked something else behind the fence, and has not answered."""
        self._asked_at = self._clock.monotonic()
        if self._silent_since is None:
            self._silent_since = self._lived

    def answered(self) -> None:
        """Learn that it answered."""
        self._silent_since = None
        self._fence_held(self._asked_at)
        self._look()

    async def run(self) -> None:
        """Write until cancelled; what says that another replica leads ends it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._write())

    async def _write(self) -> None:
        while True:
            if not self._line:
                self._wake.clear()
                await self._wake.wait()
            await self._linger()
            batch = self._next()
            changes = [change for step in batch for change in step.changes]
            signed_at, began = int(self._clock.now().timestamp() * 1000), self._clock.monotonic()
            try:
                switches = await self._store.commit(changes)
            except StoreUnavailable as error:
                log.error("store_unavailable", error=str(error), waiting=len(self._line))
                await self._clock.sleep(_RETRY_SECONDS)
                continue
            self._fence_held(began)
            for step in batch:
                self._line.popleft()
                step.settle(signed_at)
                for call in step.then:
                    call(signed_at)
            self._look()
            self._on_kept(None if self._moves_switch(batch) else switches)

    async def _linger(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while all(step.can_wait for step in self._line):
                    self._wake.clear()
                    await self._wake.wait()

    def _next(self) -> list[Step]:
        found: list[Step] = []
        count = 0
        for step in self._line:
            count += len(step.changes)
            if found and count > _AT_ONCE:
                break
            found.append(step)
        return found

    def _moves_switch(self, batch: Sequence[Step]) -> bool:
        """Tell whether what was read may be older than what we have decided since."""
        return any(
            isinstance(change, TradingStateChanged | EmergencyStopped | EmergencyReset)
            for step in (*batch, *self._line)
            for change in step.changes
        )

    async def _watch(self) -> None:
        while True:
            await self._clock.sleep(_WATCH_SECONDS)
            now = self._clock.monotonic()
            if now - self._seen >= self._deposed_after:
                self._woke = now
                log.warning("slept", seconds=round(now - self._seen, 1))
            # who was frozen has not waited for the store: it must ask again before it goes on
            self._lived += min(now - self._seen, 2 * _WATCH_SECONDS)
            self._seen = now
            self._look()

    def _look(self) -> None:
        now = self._lived
        since = [self._line[0].since] if self._line else []
        since += [] if self._silent_since is None else [self._silent_since]
        # a quick look must not end what began long ago: only an empty line ends it
        away = any(now - s >= self._patience for s in since) or (self.away and bool(self._line))
        if away != self.away:
            self.away = away
            tell = log.error if away else log.info
            tell("store_away" if away else "store_back", waiting=len(self._line))
        if away and not self._may_be_deposed():
            for step in self._line:
                step.settle(None)

    def _may_be_deposed(self) -> bool:
        """Tell whether others had the time to take over and to end what we are about to repeat."""
        slept = self._clock.monotonic() - self._seen >= self._deposed_after
        return slept or self._woke is not None

    def _fence_held(self, asked: float) -> None:
        if self._woke is not None and asked >= self._woke:
            self._woke = None
