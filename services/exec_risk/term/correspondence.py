"""What a term says to the other replicas and hears from operators, through the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.exec_risk.core.inputs import Command
from services.exec_risk.core.rules import blocked_by
from services.exec_risk.core.state import Book
from services.exec_risk.seams import Store, StoreUnavailable
from services.exec_risk.term.keeper import Keeper
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

T = TypeVar("T")

_RETRY_SECONDS = 0.2
_REQUESTS_SECONDS = 0.125
_STATUS_SECONDS = 1.0


class Correspondence:
    """Tells the status and follows requests; a store that is away is waited for."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        keeper: Keeper,
        *,
        put: Callable[[Command], None],
        asked: Callable[[], Awaitable[None]] | None,
    ) -> None:
        """`asked` returns when requests are to be looked for; without it they are polled."""
        self._store = store
        self._clock = clock
        self._keeper = keeper
        self._put = put
        self._wait = asked or (lambda: clock.sleep(_REQUESTS_SECONDS))
        self._asked: set[str] = set()

    async def tell_status(
        self,
        book: Callable[[], Book],
        *,
        connected: Callable[[], bool],
        ready: Callable[[], bool],
        errors: Callable[[], int],
    ) -> None:
        """Write once a second what only the leader sees, until cancelled."""
        while True:
            now = book()
            self._keeper.asked()
            try:
                await self._store.write_status(
                    connected=connected(),
                    ready=ready(),
                    blocked_by=blocked_by(now),
                    counters={"market_time": float(now.time), "errors": float(errors())},
                )
            except StoreUnavailable as error:
                log.warning("store_unavailable", error=str(error))
                await self._clock.sleep(_RETRY_SECONDS)
                continue
            self._keeper.answered()
            await self._clock.sleep(_STATUS_SECONDS)

    async def follow_requests(self) -> None:
        """Hand in what operators ask, each once, until cancelled."""
        while True:
            for command in await self.until_stored(self._store.requests):
                if command.request_id not in self._asked:
                    self._asked.add(command.request_id)
                    self._put(command)
            await self._wait()

    async def until_stored(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the store until it answers."""
        while True:
            try:
                return await ask()
            except StoreUnavailable as error:
                log.warning("store_unavailable", error=str(error))
                await self._clock.sleep(_RETRY_SECONDS)

    def take(self, command: Command) -> None:
        """Hand in a command that came another way, so that it is not carried out twice."""
        if command.request_id not in self._asked:
            self._asked.add(command.request_id)
            self._put(command)
