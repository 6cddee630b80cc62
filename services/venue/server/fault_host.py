"""Keeps the faults in force: takes them, ends them by wall time, tells the parts that suffer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.trade.ids import digest
from services.trade.times import from_datetime
from services.venue.core.faults import Fault, FaultKind, FaultRegistry, Subject
from services.venue.core.rejections import Rejection
from services.venue.exchange import PaperExchange
from services.venue.server import fault_json
from services.venue.server.fault_json import BadFault

log = get_logger(__name__)

_SHORTEST_SECONDS = 0.01
_CLOSING = (FaultKind.CLOSE_SOCKETS, FaultKind.MAINTENANCE)


class FaultHost:
    """The venue's faults and the wall clock that ends them."""

    def __init__(self, exchange: PaperExchange, clock: Clock) -> None:
        self._exchange = exchange
        self._clock = clock
        self._registry = FaultRegistry()
        self._changed = asyncio.Event()
        self._count = 0
        self.on_close: Callable[[Fault], Awaitable[None]] | None = None
        """Closes the sockets that a fault of kind close_sockets means."""
        self.on_end: Callable[[], Awaitable[None]] | None = None
        """Called after faults have ended."""

    @property
    def quiet(self) -> bool:
        """True while nothing but the market may be at fault."""
        return self._registry.empty

    def wall_ms(self) -> int:
        """Return the venue's wall time, skewed as faults say."""
        return self._true_ms() + self._registry.offset_ms(self._clock.monotonic())

    def strike(self, kind: FaultKind, subject: Subject, **wanted: bool) -> Fault | None:
        """Return the fault of a kind that hits, and count it."""
        fault = self._registry.strike((kind,), subject, self._clock.monotonic(), **wanted)
        if fault is not None and not kind.lasting:
            log.info("venue_fault_strikes", fault=fault.fault_id, kind=kind.value)
            self._changed.set()
        return fault

    async def sleep(self, milliseconds: int) -> None:
        """Wait by the wall clock."""
        await self._clock.sleep(milliseconds / 1000)

    async def until_over(self, kind: FaultKind, subject: Subject) -> bool:
        """Return when no fault of a kind hits any more; tell whether one did."""
        hit = False
        while self._hits(kind, subject):
            hit = True
            self._changed.clear()
            await self._changed.wait()
        return hit

    async def add(self, data: Any) -> dict[str, Any]:
        """Put a fault in force as asked for; BadFault when it cannot be."""
        self._count += 1
        made = "flt-" + digest("fault", self._true_ms(), self._count, length=8)
        fault = fault_json.parse(data, made)
        if fault.kind.of_market:
            try:
                self._exchange.disturb(fault_json.disturbance(fault, self._true_ms()))
            except Rejection as refused:
                raise BadFault(refused.message) from None
        else:
            self._registry.add(fault, self._clock.monotonic())
        log.info("venue_fault_added", fault=fault.fault_id, kind=fault.kind.value)
        if fault.kind in _CLOSING and self.on_close is not None:
            await self.on_close(fault)
        if fault.kind is FaultKind.CLOSE_SOCKETS and not fault.seconds:
            self._registry.remove(fault.fault_id)
        self._changed.set()
        found = [one for one in self.active() if one["id"] == fault.fault_id]
        return found[0] if found else {"id": fault.fault_id, "kind": fault.kind.value, "done": True}

    async def remove(self, fault_id: str) -> list[str]:
        """End a fault, or all when no id is given; return the ids that ended."""
        ids = [fault_id] if fault_id else [one["id"] for one in self.active()]
        ended = [one for one in ids if self._registry.remove(one) or self._exchange.settle(one)]
        await self._ended(ended)
        return ended

    def active(self) -> list[dict[str, Any]]:
        """Return the faults in force."""
        now = self._clock.monotonic()
        wire = [fault_json.standing_json(one, now) for one in self._registry.standing(now)]
        kept = self._exchange.engine.state.disturbances.values()
        return wire + [fault_json.disturbance_json(one, self._true_ms()) for one in kept]

    async def run(self) -> None:
        """End faults when their time is up, until cancelled."""
        while True:
            over = [fault.fault_id for fault in self._registry.expire(self._clock.monotonic())]
            now = self._true_ms()
            for one in list(self._exchange.engine.state.disturbances.values()):
                if 0 < one.until_ms <= now and self._exchange.settle(one.fault_id):
                    over.append(one.fault_id)
            if over:
                await self._ended(over)
            await self._until_next_end()

    async def _ended(self, ids: list[str]) -> None:
        if not ids:
            return
        log.info("venue_faults_ended", faults=ids)
        self._changed.set()
        if self.on_end is not None:
            await self.on_end()

    async def _until_next_end(self) -> None:
        ends = [self._registry.next_end()]
        now, now_ms = self._clock.monotonic(), self._true_ms()
        for one in self._exchange.engine.state.disturbances.values():
            ends.append(now + (one.until_ms - now_ms) / 1000 if one.until_ms else None)
        known = [end for end in ends if end is not None]
        self._changed.clear()
        if not known:
            await self._changed.wait()
            return
        sleeping = asyncio.ensure_future(
            self._clock.sleep(max(_SHORTEST_SECONDS, min(known) - now))
        )
        waiting = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((sleeping, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            waiting.cancel()

    def _hits(self, kind: FaultKind, subject: Subject) -> bool:
        standing = self._registry.standing(self._clock.monotonic())
        return any(s.fault.kind is kind and s.fault.match.hits(subject) for s in standing)

    def _true_ms(self) -> int:
        return from_datetime(self._clock.now())
