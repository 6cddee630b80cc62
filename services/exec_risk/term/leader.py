"""Waiting for the lease, leading while it lasts, and listening to the exchange meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from services.exec_risk.core.exchange_events import (
    CandleClosed,
    ExchangeEvent,
    PointReached,
    PriceReport,
)
from services.exec_risk.core.inputs import PredictionsArrived
from services.exec_risk.core.trader import Event
from services.exec_risk.seams import Exchange, Leadership
from services.exec_risk.term.core_faults import CoreBroken
from services.exec_risk.term.term import Term
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

_RETIRE_SECONDS = 1.0
_KEPT_ANSWERS = 64
"""Batches of answers that a term which begins is told: those of the round in progress."""


class Leader:
    """One replica's life: standby, then term after term."""

    def __init__(
        self, *, exchange: Exchange, lease: Leadership, new_term: Callable[[], Term]
    ) -> None:
        self._exchange = exchange
        self._lease = lease
        self._new_term = new_term
        self._point: PointReached | None = None
        self._point_known = asyncio.Event()
        self._recent: list[CandleClosed] = []
        self._answers: deque[PredictionsArrived] = deque(maxlen=_KEPT_ANSWERS)
        self._prices: dict[str, PriceReport] = {}
        self._observed = 0
        self._retired, self._ended = asyncio.Event(), asyncio.Event()
        self._ended.set()
        self._standby: asyncio.Task[None] | None = None
        self.term: Term | None = None
        """The term that is being led; None on standby."""

    @property
    def leading(self) -> bool:
        """True while this replica leads, also without PostgreSQL, where the lease lives."""
        return self.term is not None and (self._lease.held or self.term.store_away)

    def put(self, event: Event) -> None:
        """Hand an event to the term; on standby only answers are kept, for the next term."""
        if isinstance(event, PredictionsArrived):
            self._answers.append(event)
        if self.term is not None:
            self.term.put(event)

    def round_observed(self, time: int) -> None:
        """Pass on analytics' answer to a round; on standby it is kept for the next term."""
        self._observed = max(self._observed, time)
        if self.term is not None:
            self.term.round_observed(time)

    async def listen(self) -> None:
        """Take everything that the exchange tells, also on standby."""
        async for event in self._exchange.events():
            self._remember(event)
            self.put(event)

    async def retire(self) -> None:
        """Lead no more: what is under way is finished in its time, and nothing new is begun.

        Who stopped in the middle of a step would leave orders of which the next leader must first
        prove that they were never sent, while the market waits for it.
        """
        if self.term is not None:
            await self.term.finish()
        self._retired.set()
        if self._standby is not None:
            self._standby.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RETIRE_SECONDS):
                await self._ended.wait()

    async def run(self) -> None:
        """Wait for the lease and lead, until `retire`."""
        self._ended.clear()
        try:
            while not self._retired.is_set():
                self._standby = asyncio.create_task(self._may_lead())
                await self._standby
                if not self._retired.is_set():
                    await self._lead()
        except asyncio.CancelledError:
            if not self._retired.is_set():
                raise
        finally:
            self._ended.set()

    async def _may_lead(self) -> None:
        if self._exchange.tells_points:
            # where the market stands decides which candles are history
            await self._point_known.wait()
        await self._lease.wait()

    async def _lead(self) -> None:
        term = self.term = self._new_term()
        for answers in self._answers:
            # the bus may have told them before there was a term; rounds take them once
            term.put(answers)
        if self._observed:
            # the round in progress may have been observed before there was a term
            term.round_observed(self._observed)
        lost = asyncio.Event()
        keeping = asyncio.create_task(self._lease.keep(lost.set))
        leading = asyncio.create_task(
            term.run(self._point, list(self._recent), list(self._prices.values()))
        )
        losing = asyncio.create_task(lost.wait())
        retiring = asyncio.create_task(self._retired.wait())
        try:
            ends = {leading, losing, retiring}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if leading.done() and (self._lease.held or _broken(leading)):
                leading.result()  # a defect, not a lost lease: it ends the process
        finally:
            self.term = None
            tasks = (keeping, leading, losing, retiring)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await term.close()
        if self._retired.is_set():
            log.info("term_ended")
        else:
            log.warning("term_ended")

    def _remember(self, event: ExchangeEvent) -> None:
        """Keep what a term that begins now must know of the current point."""
        if isinstance(event, PointReached):
            if self._point is None or event.number != self._point.number:
                self._recent = [c for c in self._recent if c.candle.close_time == event.time]
            self._point = event
            self._point_known.set()
        elif isinstance(event, CandleClosed):
            self._recent.append(event)
            del self._recent[:-1024]
        elif isinstance(event, PriceReport):
            self._prices[event.symbol] = event


def _broken(leading: asyncio.Task[None]) -> bool:
    error = leading.exception()
    return isinstance(error, BaseExceptionGroup) and error.subgroup(CoreBroken) is not None
