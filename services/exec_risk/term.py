"""One term of leadership: events in, decisions stored, then carried out.

One loop: what waits is handled by the core, everything it changed is committed in one fenced
transaction, and only then is anything sent. A crash at any await leaves a state from which
`start` recovers: what was sent without an answer is asked for by its client order id.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.exec_risk.candles import CandlePublisher
from services.exec_risk.core.effects import ACTIONS, WRITES, Action, Change, Effect
from services.exec_risk.core.exchange_events import CandleClosed, PointReached, SymbolsListed
from services.exec_risk.core.inputs import (
    FiltersRead,
    GatesChanged,
    RoundOpened,
    SnapshotRead,
    Tick,
)
from services.exec_risk.core.policy import Gates, Policy
from services.exec_risk.core.reconcile import START
from services.exec_risk.core.rules import blocked_by
from services.exec_risk.core.trader import Event, Trader
from services.exec_risk.overdue import Overdue
from services.exec_risk.seams import CandleSink, Exchange, Store, StoreUnavailable
from services.exec_risk.sender import Sender
from services.exec_risk.term_limits import TermLimits
from services.kit.clock import Clock
from services.kit.logs import get_logger

log = get_logger(__name__)

__all__ = ["Term", "TermLimits"]

T = TypeVar("T")

HOUR_MS = 3_600_000
_BATCH = 256
_TICK_SECONDS = 0.25
_RETRY_SECONDS = 0.2
_STATUS_SECONDS = 1.0


class Term:
    """Leads one account from the taking of the lease to its loss."""

    def __init__(
        self,
        *,
        policy: Policy,
        exchange: Exchange,
        store: Store,
        candles: CandleSink,
        clock: Clock,
        limits: TermLimits,
        gates: Callable[[], Gates],
        on_effects: Callable[[list[Effect]], None],
    ) -> None:
        self._policy = policy
        self._exchange = exchange
        self._store = store
        self._clock = clock
        self._limits = limits
        self._gates = gates
        self._on_effects = on_effects
        self._queue: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._publisher = CandlePublisher(candles, exchange, clock, limits.history_candles)
        self._sender = Sender(
            exchange, clock, limits.sender, report=self.put, since=self._fills_since
        )
        self._trader: Trader | None = None
        self._point: PointReached | None = None
        self._answered = -1
        self._lockstep = False
        self._observed = 0
        self._observer_heard = True
        self._decided_at = 0.0
        self._overdue = Overdue(
            clock,
            protection=limits.protection_grace - _TICK_SECONDS,
            exits=limits.exit_deadline,
            lockstep=limits.round_wait_lockstep,
            free=limits.round_wait_free,
        )
        self._asked: set[str] = set()
        self.ready = False
        """True once everything was reconciled and every position is protected."""

    @property
    def trader(self) -> Trader:
        """The core; only after `start` has loaded it."""
        if self._trader is None:
            raise RuntimeError("the term has not started")
        return self._trader

    @property
    def errors(self) -> int:
        """Requests of unknown outcome in this term."""
        return self._sender.errors

    def put(self, event: Event) -> None:
        """Hand in an event."""
        self._queue.append(event)
        self._wake.set()

    def round_observed(self, time: int) -> None:
        """Learn that analytics has taken in the round of a market time."""
        self._observed = max(self._observed, time)
        self._observer_heard = True
        self._wake.set()

    async def run(self, point: PointReached | None, recent: list[CandleClosed]) -> None:
        """Lead until cancelled or fenced. `point` and `recent` are the last that was heard."""
        async with asyncio.TaskGroup() as group:
            await self._start(point)
            group.create_task(self._publisher.run(self.trader.book, point))
            group.create_task(self._pulse())
            group.create_task(self._tell_status())
            group.create_task(self._follow_requests())
            if point is not None and point.time > self.trader.book.last_round:
                self._queue.extendleft([point, *reversed(recent)])
            elif point is not None:
                self._point = point
            self._wake.set()
            await self._loop()

    async def close(self) -> None:
        """End what is under way."""
        await self._sender.close()

    async def _start(self, point: PointReached | None) -> None:
        """Read what is stored, compare with the exchange, repair, protect."""
        book = await self._until_stored(lambda: self._store.load(self._policy))
        self._trader = Trader(book)
        if point is not None:
            book.time = max(book.time, point.time)
            self._lockstep = point.lockstep
        while True:
            try:
                filters = await self._exchange.filters()
                snapshot = await self._exchange.snapshot(self._fills_since())
                break
            except Exception as error:  # noqa: BLE001 - unknown, so it is asked again
                # an exchange that does not answer is unknown, never flat: wait for it
                log.warning("exchange_not_read", error=str(error))
                await self._clock.sleep(_RETRY_SECONDS)
        await self._step([GatesChanged(self._gates()), FiltersRead(filters)])
        await self._step([SnapshotRead(snapshot, START)])

    async def _loop(self) -> None:
        while True:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), _BATCH))]
            if batch:
                await self._step(batch)
            self._note_ready()
            await self._settle_point()
            if not self._queue:
                await self._wake.wait()
                self._wake.clear()

    async def _step(self, batch: list[Event]) -> None:
        """Decide, keep, then act: nothing is sent before its intent is committed."""
        effects: list[Effect] = []
        for event in batch:
            effects += self._handled(event)
        changes: list[Change] = []
        actions: list[Action] = []
        for effect in effects:
            if isinstance(effect, ACTIONS):
                actions.append(effect)
            else:
                changes.append(effect)
        signed_at = 0
        if changes or any(isinstance(action, WRITES) for action in actions):
            # without changes it is only the fence: who was frozen and deposed asks for nothing
            signed_at = await self._commit(changes)
        for action in actions:
            self._sender.carry_out(action, signed_at)
            # a request is on its way before the next one is signed
            await asyncio.sleep(0)
        if effects:
            self._on_effects(effects)

    def _handled(self, event: Event) -> list[Effect]:
        trader = self.trader
        last_round = trader.book.last_round
        if isinstance(event, CandleClosed):
            self._publisher.add(event.candle)
        if isinstance(event, SymbolsListed):
            self._publisher.join(set(event.filters) - set(trader.book.filters))
        if isinstance(event, PointReached):
            self._point, self._lockstep = event, event.lockstep
        effects = trader.handle(event, getattr(event, "time", 0))
        if isinstance(event, CandleClosed) and self._point is None:
            # without a venue that tells its points, the first close of a time opens its round
            opened = RoundOpened(event.candle.close_time, tuple(sorted(trader.book.filters)))
            effects += trader.handle(opened, event.candle.close_time)
        if trader.book.last_round != last_round:
            self._decided_at = self._clock.monotonic()
        return effects

    async def _commit(self, changes: list[Change]) -> int:
        """Write until it is written; return the wall time (ms) before the write that held."""
        while True:
            signed_at = int(self._clock.now().timestamp() * 1000)
            try:
                await self._store.commit(changes)
            except StoreUnavailable as error:
                log.error("store_unavailable", error=str(error))
                await self._clock.sleep(_RETRY_SECONDS)
            else:
                return signed_at

    def _note_ready(self) -> None:
        if not self.ready and self._sender.idle and not self._queue:
            self.ready = not self.trader.unprotected()
            if self.ready:
                log.info("account_ready", positions=len(self.trader.book.positions))

    async def _settle_point(self) -> None:
        """Let the paper venue move on when everything of its point is done."""
        point = self._point
        if point is None or point.number == self._answered:
            return
        if self._queue or not self._sender.idle or not self.ready:
            return
        if point.closed_symbols:
            if self.trader.book.last_round < point.time or not self._publisher.idle:
                return
            if not self._round_is_observed(point.time):
                return
        await self._exchange.idle(point.number)
        self._answered = point.number

    def _round_is_observed(self, time: int) -> bool:
        if self._observed >= time or not self._observer_heard or not self._lockstep:
            return True
        if self._clock.monotonic() - self._decided_at < self._limits.observed_wait:
            return False
        log.warning("round_not_observed", time=time)
        self._observer_heard = False
        return True

    async def _pulse(self) -> None:
        """The slow pulse: gates, overdue protection, overdue rounds, what was put off."""
        gates = self._gates()
        while True:
            await self._clock.sleep(_TICK_SECONDS)
            if self._gates() != gates:
                gates = self._gates()
                self.put(GatesChanged(gates))
            for event in self._overdue.look(self.trader, lockstep=self._lockstep):
                self.put(event)
            self.put(Tick())

    async def _tell_status(self) -> None:
        while True:
            await self._until_stored(
                lambda: self._store.write_status(
                    connected=self._exchange.connected,
                    ready=self.ready,
                    blocked_by=blocked_by(self.trader.book),
                    counters=self._counters(),
                )
            )
            await self._clock.sleep(_STATUS_SECONDS)

    def _counters(self) -> dict[str, float]:
        return {"market_time": float(self.trader.book.time), "errors": float(self.errors)}

    async def _follow_requests(self) -> None:
        while True:
            for command in await self._until_stored(self._store.requests):
                if command.request_id not in self._asked:
                    self._asked.add(command.request_id)
                    self.put(command)
            await self._clock.sleep(_TICK_SECONDS / 2)

    async def _until_stored(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except StoreUnavailable as error:
                log.warning("store_unavailable", error=str(error))
                await self._clock.sleep(_RETRY_SECONDS)

    def _fills_since(self) -> int:
        """Return the market time from which fills may have been missed."""
        book = self.trader.book
        if not book.time:
            return int(self._clock.now().timestamp() * 1000) - HOUR_MS
        times = [book.time - HOUR_MS]
        times += [o.decided_time for o in book.live_orders()]
        return max(min(times), 0)
