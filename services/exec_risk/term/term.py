"""One term of leadership: events in, decisions stored, then carried out.

One loop: what waits is handled by the core, everything it changed is committed in one fenced
transaction, and only then is anything sent. A crash at any await leaves a state from which
`start` recovers: what was sent without an answer is asked for by its client order id.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from services.exec_risk.core.actions import WRITES, Reconcile
from services.exec_risk.core.effects import Effect, parted
from services.exec_risk.core.exchange_events import (
    CandleClosed,
    OrderReport,
    PointReached,
    PriceReport,
    SymbolsListed,
)
from services.exec_risk.core.inputs import (
    DirectiveHeard,
    EmergencyStop,
    FiltersRead,
    GatesChanged,
    PolicyRead,
    PricesHeard,
    RoundOpened,
    SetTradingState,
    SnapshotRead,
    SwitchesRead,
)
from services.exec_risk.core.policy import Gates, Policy
from services.exec_risk.core.reconciling.reconcile import START
from services.exec_risk.core.trader import Event, Trader
from services.exec_risk.market.candles import CandlePublisher
from services.exec_risk.seams import CandleSink, Exchange, Store, Switches
from services.exec_risk.serving.direct import Direct
from services.exec_risk.term.correspondence import Correspondence
from services.exec_risk.term.first_reading import fills_since, read
from services.exec_risk.term.gates import TermGates
from services.exec_risk.term.guarded_core import GuardedCore
from services.exec_risk.term.keeper import Keeper, can_wait
from services.exec_risk.term.latch_file import LatchFile
from services.exec_risk.term.limits import TermLimits
from services.exec_risk.term.pace import Pace
from services.exec_risk.term.pulse import Pulse
from services.exec_risk.term.sender import Sender
from services.exec_risk.term.without_store import WithoutStore
from services.exec_risk.tracing.traces import NoTraces, Traces
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.trade.position import TradingState

log = get_logger(__name__)

__all__ = ["Term", "TermLimits"]

_BATCH = 256
_FINISH_POLL_SECONDS = 0.01


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
        told: Callable[[], Sequence[PolicyRead | DirectiveHeard]] = tuple,
        on_effects: Callable[[list[Effect]], None],
        asked: Callable[[], Awaitable[None]] | None = None,
        traces: Traces | None = None,
    ) -> None:
        self._traces = traces or NoTraces()
        self._policy = policy
        self._exchange = exchange
        self._store = store
        self._clock = clock
        self._told = told
        self._on_effects = on_effects
        self._queue: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._publisher = CandlePublisher(candles, exchange, clock, limits.history_candles)
        self._sender = Sender(
            exchange, clock, limits.sender, report=self.put, since=self._fills_since
        )
        self._pace = Pace(clock, observed_wait=limits.observed_wait)
        self._pulse = Pulse(clock, limits, put=self.put)
        self._keeper = Keeper(
            store,
            clock,
            patience=limits.store_patience,
            deposed_after=limits.deposed_after,
            on_kept=self._kept,
        )
        self._latch_file = LatchFile(limits.latch_file, policy.account)
        self._without = WithoutStore(
            clock, self._latch_file, carry_out=self._sender.carry_out, report=self.put
        )
        self._core = GuardedCore(policy, store, self._keeper, clock)
        self._gates = TermGates(
            gates, keeper=self._keeper, pace=self._pace, exchange=exchange, core=self._core
        )
        self._letters = Correspondence(store, clock, self._keeper, put=self.put, asked=asked)
        self._busy = self._finishing = False
        self._finish_seconds = limits.finish
        self.direct = Direct(self._letters.take)
        """The way of requests that PostgreSQL does not carry."""
        self.ready = False
        """True once everything was reconciled and every position is protected."""

    @property
    def trader(self) -> Trader:
        """The core; only after `start` has loaded it."""
        return self._core.trader

    @property
    def errors(self) -> int:
        """Requests of unknown outcome in this term."""
        return self._sender.errors

    @property
    def store_away(self) -> bool:
        """True while PostgreSQL does not take what was decided."""
        return self._keeper.away

    @property
    def fault(self) -> str:
        """What failed inside the core; empty while nothing did."""
        return self._core.faults.reason

    def put(self, event: Event) -> None:
        """Hand in an event."""
        self._queue.append(event)
        self._wake.set()

    def round_observed(self, time: int) -> None:
        """Learn that analytics has taken in the round of a market time."""
        self._pace.observed(time)
        self._wake.set()

    async def run(
        self,
        point: PointReached | None,
        recent: Sequence[CandleClosed],
        prices: Sequence[PriceReport] = (),
    ) -> None:
        """Lead until cancelled or fenced. Point, candles and prices are the last that was heard."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keeper.run())
            await self._start(point, prices)
            group.create_task(self._publisher.run(self.trader.book, point))
            group.create_task(
                self._pulse.run(
                    lambda: self.trader,
                    ready=lambda: self.ready,
                    lockstep=lambda: self._pace.lockstep,
                )
            )
            group.create_task(
                self._letters.tell_status(
                    lambda: self.trader.book,
                    connected=lambda: self._exchange.connected,
                    ready=lambda: self.ready,
                    errors=lambda: self.errors,
                )
            )
            group.create_task(self._letters.follow_requests())
            # in the order of a point, and before the answers: a round is decided by its own prices
            heard: list[Event] = list(prices)
            if point is not None and point.time > self.trader.book.last_round:
                heard = [*recent, *prices, point]
            elif point is not None:
                self._pace.point = point
            self._queue.extendleft(reversed(heard))
            self._wake.set()
            await self._loop()

    async def finish(self) -> None:
        """Return when all that was decided is kept and answered; a while at most.

        The market is not told to move on any more.
        """
        self._finishing = True
        ends = self._clock.monotonic() + self._finish_seconds
        while self._busy or self._queue or not (self._keeper.idle and self._sender.idle):
            if self._clock.monotonic() >= ends:
                log.warning("term_not_finished", steps=self._keeper.waiting, waits=len(self._queue))
                return
            self._keeper.hurry()
            await self._clock.sleep(_FINISH_POLL_SECONDS)

    async def close(self) -> None:
        """End what is under way."""
        if self._keeper.waiting:
            log.error("steps_not_kept", steps=self._keeper.waiting)
        await self._sender.close()

    async def _start(self, point: PointReached | None, prices: Sequence[PriceReport]) -> None:
        """Read what is stored, compare with the exchange, repair, protect."""
        book = await self._letters.until_stored(lambda: self._store.load(self._policy))
        self._core.begin(book)
        if point is not None:
            book.time = max(book.time, point.time)
            self._pace.lockstep = point.lockstep
        filters, snapshot = await read(self._exchange, self._clock, self._fills_since)
        heard, told = PricesHeard(tuple(prices)), self._told()
        policies = [event for event in told if isinstance(event, PolicyRead)]
        for event in told:
            if isinstance(event, DirectiveHeard):
                self.put(event)  # its position is to be compared with the exchange first
        await self._step([heard, GatesChanged(self._gates.now()), FiltersRead(filters), *policies])
        await self._latch_again()
        await self._step([SnapshotRead(snapshot, START)])

    async def _latch_again(self) -> None:
        """Take over an emergency stop that PostgreSQL never got."""
        latch = self._latch_file.read()
        if latch is None:
            return
        if self.trader.book.latch is None:
            await self._step([EmergencyStop(latch.request_id, latch.reason, latch.by)])
        if self._keeper.idle:
            self._latch_file.remove()

    async def _loop(self) -> None:
        while True:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), _BATCH))]
            gates = self._gates.now()
            known = self.trader.book.gates
            if gates is not known and gates != known:
                # what waited while the process was frozen is decided by the gates of now
                batch.insert(0, GatesChanged(gates))
            if batch:
                await self._step(batch)
            if await self._core.renew():
                self._compare_anew()
            self._note_ready()
            await self._settle_point()
            if not self._queue:
                await self._wake.wait()
                self._wake.clear()

    async def _step(self, batch: list[Event]) -> None:
        """Decide, keep, then act: nothing is sent before its intent is committed.

        Only what reduces may go on when the store does not take it in time.
        """
        self._busy = True
        effects = self._core.decide(batch, self._handled, self._queue)
        changes, actions = parted(effects)
        signed_at: int | None = 0
        if changes and len(changes) == len(effects) and can_wait(changes):
            self._keeper.put(changes, can_wait=True)
        elif changes or any(isinstance(action, WRITES) for action in actions):
            # without changes it is only the fence: who was frozen and deposed asks for nothing
            step = self._keeper.put(changes)
            signed_at = await step.settled
            if signed_at is None:
                self._without.act(actions, step, lockstep=self._pace.lockstep)
        if signed_at is not None:
            for action in actions:
                with self._traces.acting(action):
                    self._sender.carry_out(action, signed_at)
                # a request is on its way before the next one is signed
                await asyncio.sleep(0)
        if effects:
            self._on_effects(effects)
            self.direct.told(effects)
        self._core.faults.check()
        self._busy = False

    def _compare_anew(self) -> None:
        """Go on with a book that was read back: gates, the round in progress, the exchange."""
        point = self._pace.point
        if point is not None and point.time > self.trader.book.last_round:
            self._queue.appendleft(point)
        self._queue.appendleft(GatesChanged(self._gates.now()))
        self._sender.carry_out(Reconcile("core exception"), 0)

    def _kept(self, switches: Switches | None) -> None:
        """Take what a commit found in the database; the market may move on now."""
        if not self._keeper.away:
            self._without.back()
        book, latch = self.trader.book, switches.latch if switches is not None else None
        stop = EmergencyStop("", latch.reason, latch.by) if latch and not book.latch else None
        if switches is not None and (stop or switches.trading_state is not book.trading_state):
            self.put(SwitchesRead(switches.trading_state, book.trading_state, stop))
        self._wake.set()

    def _handled(self, event: Event) -> list[Effect]:
        trader, began = self.trader, self._traces.began()
        last_round = trader.book.last_round
        if isinstance(event, CandleClosed):
            self._publisher.add(event.candle)
        if isinstance(event, SymbolsListed):
            self._publisher.join(set(event.filters) - set(trader.book.filters))
        if isinstance(event, PointReached):
            self._pace.reached(event)
        if isinstance(event, OrderReport) and self._keeper.away:
            self._without.heard(event, known=event.client_order_id in trader.book.orders)
        if isinstance(event, SetTradingState) and event.state is TradingState.ACTIVE:
            self._core.faults.reset()
        effects = trader.handle(event, getattr(event, "time", 0))
        if isinstance(event, CandleClosed) and self._pace.point is None:
            # without a venue that tells its points, the first close of a time opens its round
            opened = RoundOpened(event.candle.close_time, tuple(sorted(trader.book.filters)))
            effects += trader.handle(opened, event.candle.close_time)
        if trader.book.last_round != last_round:
            self._pace.decided()
        self._traces.handled(event, effects, trader.book, began)
        return effects

    def _note_ready(self) -> None:
        if not self.ready and self._sender.idle and not self._queue:
            self.ready = not self.trader.unprotected()
            if self.ready:
                log.info("account_ready", positions=len(self.trader.book.positions))

    async def _settle_point(self) -> None:
        """Let the paper venue move on when everything of its point is done."""
        point = self._pace.open_point()
        if point is None or self._queue or not self.ready or self._finishing:
            return
        if not self._sender.idle:
            return
        if point.closed_symbols and self.trader.book.last_round < point.time:
            return
        if not self._keeper.idle:
            self._keeper.hurry()
            return
        if point.closed_symbols and not (
            self._publisher.idle and self._pace.round_is_observed(point.time)
        ):
            return
        if self._policy.fund_required and not self.trader.book.fund.newest:
            return  # the market waits for the first policy as for whoever else is away
        await self._exchange.idle(point.number)
        self._pace.answered(point)

    def _fills_since(self) -> int:
        return fills_since(self.trader.book, self._clock)
