"""The core of one term, and what happens when it fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from services.exec_risk.core.effects import Effect
from services.exec_risk.core.policy import Policy
from services.exec_risk.core.state import Book
from services.exec_risk.core.trader import Event, Trader
from services.exec_risk.seams import Store, StoreUnavailable
from services.exec_risk.term.core_faults import CoreFaults, carry_over
from services.exec_risk.term.keeper import Keeper
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger

log = get_logger(__name__)


class GuardedCore:
    """Holds the trader. After a failure it reads the book back as the last commit left it."""

    def __init__(self, policy: Policy, store: Store, keeper: Keeper, clock: Clock) -> None:
        self._policy = policy
        self._store = store
        self._keeper = keeper
        self._trader: Trader | None = None
        self._stale = False
        self.faults = CoreFaults(clock)

    @property
    def trader(self) -> Trader:
        """The core; only after it was loaded."""
        if self._trader is None:
            raise RuntimeError("the term has not started")
        return self._trader

    @property
    def book(self) -> Book:
        """The core's book."""
        return self.trader.book

    def begin(self, book: Book) -> None:
        """Start with what was loaded."""
        self._trader = Trader(book)

    def decide(
        self, batch: Sequence[Event], handle: Callable[[Event], list[Effect]], queue: deque[Event]
    ) -> list[Effect]:
        """Hand events to the core; after a failure the rest goes back to wait for a sound one.

        While PostgreSQL is away there is none to be had: what is left of the book goes on, since
        exits must.
        """
        effects: list[Effect] = []
        for number, event in enumerate(batch):
            try:
                effects += handle(event)
            except Exception as error:  # noqa: BLE001 - it is told, and exits must go on
                effects.append(self.faults.caught(event, error, self.book))
                self.book.out.clear()
                self._stale = True
            if self.book.failed:
                effects += self.faults.isolated(event, self.book)
                self._stale = True
            if self._stale and not self._keeper.away:
                queue.extendleft(reversed(batch[number + 1 :]))
                break
        return effects

    async def renew(self) -> bool:
        """Read the book back after a failure; True when there is a new one."""
        if not self._stale or not self._keeper.idle:
            return False
        try:
            book = carry_over(self.book, await self._store.load(self._policy))
        except StoreUnavailable as error:
            log.warning("store_unavailable", error=str(error))
            return False
        self._trader, self._stale = Trader(book), False
        log.warning("core_renewed", reason=self.faults.reason)
        return True
