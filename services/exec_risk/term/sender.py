"""Carries out what the core decided, concurrently and bounded; what came of it goes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from services.exec_risk.core.actions import Action, Cancel, Place, Reconcile, Resolve, SetLeverage
from services.exec_risk.core.exchange_events import Refused, RequestOutcome, Unknown
from services.exec_risk.core.inputs import (
    CancelAnswered,
    Input,
    LeverageAnswered,
    OrderFound,
    PlaceAnswered,
    SnapshotRead,
)
from services.exec_risk.core.reconciling.reconcile import ASKED, VERIFY, VERIFY_AGAIN, covering
from services.exec_risk.seams import Exchange
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.trade.order import Order, OrderPurpose

log = get_logger(__name__)

_ASK_AGAIN_SECONDS = 0.25
_DUPLICATE_ID = "-4116"
_SNAPSHOT_PAUSE_SECONDS = 0.25
_PAUSES = {VERIFY: 0.0, ASKED: 0.0, VERIFY_AGAIN: 1.0}
"""A doubt is confirmed only after what was on its way has come."""


@dataclass(frozen=True, slots=True)
class SenderLimits:
    """How much is asked at once, and for how long."""

    concurrent: int = 10
    timeout_seconds: float = 5.0
    proof_seconds: float = 2.0
    """Time after signing from which an id that is not found was never sent: the recvWindow of
    1.5 s plus skew."""


class Sender:
    """Sends requests. Outcomes are events; it decides nothing."""

    def __init__(
        self,
        exchange: Exchange,
        clock: Clock,
        limits: SenderLimits,
        *,
        report: Callable[[Input], None],
        since: Callable[[], int],
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._limits = limits
        self._report = report
        self._since = since
        self._all = asyncio.Semaphore(limits.concurrent)
        # a share is kept free for exits and protection
        self._entries = asyncio.Semaphore(max(1, limits.concurrent * 4 // 5))
        self._signed: dict[str, float] = {}
        self._began = clock.monotonic()
        """What this term did not sign was signed by an earlier leader, before it began."""
        self._resolving: set[str] = set()
        self._causes: dict[str, None] = {}
        """Why the exchange is to be read, by readings that have not begun."""
        self._reading = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.errors = 0
        """Outcomes that were not an acceptance."""

    @property
    def idle(self) -> bool:
        """True when every request is answered."""
        return not self._tasks

    def carry_out(self, action: Action, signed_at: int) -> None:
        """Begin an action; `signed_at` is the wall time (ms) of the write that allowed it."""
        match action:
            case Place(order):
                self._signed[order.client_order_id] = self._clock.monotonic()
                self._start(self._place(order, signed_at))
            case Cancel(order):
                self._start(self._cancel(order, signed_at))
            case SetLeverage(symbol, leverage):
                self._start(self._set_leverage(symbol, leverage, signed_at))
            case Resolve(order):
                if order.client_order_id not in self._resolving:
                    self._resolving.add(order.client_order_id)
                    self._start(self._resolve(order))
            case Reconcile(cause):
                self._causes[cause] = None
                if not self._reading:
                    self._reading = True
                    self._start(self._read())

    async def close(self) -> None:
        """Stop waiting for answers; what was sent is resolved by the next leader."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("sender_task_failed", exc_info=task.exception())

    async def _place(self, order: Order, signed_at: int) -> None:
        if order.purpose is OrderPurpose.ENTRY:
            async with self._entries, self._all:
                outcome = await self._asked(self._exchange.place(order, signed_at=signed_at))
        else:
            async with self._all:
                outcome = await self._asked(self._exchange.place(order, signed_at=signed_at))
        self._report(PlaceAnswered(order.client_order_id, outcome))

    async def _cancel(self, order: Order, signed_at: int) -> None:
        async with self._all:
            outcome = await self._asked(self._exchange.cancel(order, signed_at=signed_at))
        self._report(CancelAnswered(order.client_order_id, outcome))

    async def _asked(self, request: Coroutine[None, None, RequestOutcome]) -> RequestOutcome:
        try:
            async with asyncio.timeout(self._limits.timeout_seconds):
                outcome = await request
        except TimeoutError:
            outcome = Unknown(f"no answer within {self._limits.timeout_seconds} s")
        except Exception as error:
            # whatever went wrong, it is not known whether the request arrived
            log.exception("request_failed")
            outcome = Unknown(f"{type(error).__name__}: {error}")
        if isinstance(outcome, Refused) and outcome.code == _DUPLICATE_ID:
            # an order rests under this id: who sent it died, or leads beside us; it is looked up
            outcome = Unknown(f"{outcome.code} {outcome.message}")
        self.errors += isinstance(outcome, Unknown)
        return outcome

    async def _set_leverage(self, symbol: str, leverage: int, signed_at: int) -> None:
        try:
            async with self._all, asyncio.timeout(self._limits.timeout_seconds):
                found = await self._exchange.set_leverage(symbol, leverage, signed_at=signed_at)
        except Exception as error:  # noqa: BLE001 - unknown, so it is asked again
            log.warning("leverage_not_set", symbol=symbol, error=str(error))
            self._report(LeverageAnswered(symbol, None, f"{type(error).__name__}: {error}"))
        else:
            self._report(LeverageAnswered(symbol, found))

    async def _resolve(self, order: Order) -> None:
        """Ask for an order until the exchange knows it, or cannot have it any more."""
        name, begun = order.client_order_id, self._began
        try:
            while True:
                asked_since = self._signed.get(name, begun)
                settled = self._clock.monotonic() - asked_since > self._limits.proof_seconds
                try:
                    async with asyncio.timeout(self._limits.timeout_seconds):
                        report = await self._exchange.find(order)
                except Exception as error:  # noqa: BLE001 - unknown, so it is asked again
                    log.warning("find_failed", order=order.client_order_id, error=str(error))
                    await self._clock.sleep(_ASK_AGAIN_SECONDS)
                    continue
                # the answer is proof only when it was asked for after the window had passed
                again = self._signed.get(name, begun) != asked_since
                if report is not None or (settled and not again):
                    self._report(OrderFound(order.client_order_id, report))
                    return
                await self._clock.sleep(_ASK_AGAIN_SECONDS)
        finally:
            self._resolving.discard(order.client_order_id)

    async def _read(self) -> None:
        """Read until each cause had a reading that began after it; an earlier one is of before."""
        failed = False
        try:
            while self._causes:
                pause = _PAUSES.get(covering(self._causes), _SNAPSHOT_PAUSE_SECONDS)
                await self._clock.sleep(_SNAPSHOT_PAUSE_SECONDS if failed else pause)
                causes, self._causes = self._causes, {}
                try:
                    snapshot = await self._exchange.snapshot(self._since())
                except Exception as error:  # noqa: BLE001 - unknown, so it is asked again
                    log.warning("snapshot_failed", error=str(error))
                    self._causes, failed = causes | self._causes, True
                else:
                    self._report(SnapshotRead(snapshot, covering(causes)))
                    failed = False
        finally:
            self._reading = False
