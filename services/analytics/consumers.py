"""What analytics takes from the bus: events into the ledger, heartbeats into memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from google.protobuf.message import DecodeError
from quantum.analytics.v1 import events_pb2 as published
from quantum.ops.v1 import operations_service_pb2 as ops

from services.analytics.codec import Unreadable, to_event
from services.analytics.core.health import Heartbeat, Part, Status
from services.analytics.core.ledger import LedgerEvent, RoundFact
from services.analytics.ledger.spans import LedgerSpans
from services.analytics.ledger.turns import Turns
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.store import LedgerStore, Rejection
from services.catalog import subjects
from services.catalog.events import ROUND_DECIDED, ROUND_OBSERVED
from services.catalog.processes import ANALYTICS
from services.kit.bus.bus import Bus, BusUnavailable, Delivery, Message, Outgoing, Worker
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger
from services.kit.observe.telemetry import now
from services.kit.observe.trace_context import traceparent
from services.kit.postgres.db import TRANSIENT
from services.trade.codec import time_to_pb
from services.trade.ids import digest, trace_id

log = get_logger(__name__)

NEVER_GIVE_UP = 1 << 30
"""Deliveries of the ledger's consumers: a database that is away must not cost a fact. What can
never be written is rejected by name instead."""

_IN_HAND = 3
"""Batches of a consumer in hand: while one is committed the next is read, and one more is there
when that is done first."""
_SLICE = 25
"""Messages that are read in one go; in between the commit of the batch before goes on."""
_AWAY: tuple[type[BaseException], ...] = (BusUnavailable, *TRANSIENT)
_COME_AGAIN_SECONDS = 0.5
_REDELIVERED_SECONDS = 5.0
"""A batch that failed comes back within this time, unless another replica gets it."""


class Sink:
    """Writes what one durable consumer delivers into the ledger."""

    def __init__(
        self,
        *,
        stream: str,
        store: LedgerStore,
        bus: Bus,
        clock: Clock,
        metrics: AnalyticsMetrics,
        spans: LedgerSpans | None = None,
        before_answer: Callable[[str, int], Awaitable[None]] | None = None,
    ) -> None:
        """`before_answer` is awaited with account and market time before a round is answered."""
        self._before_answer = before_answer
        self._spans = spans
        self._stream = stream
        self._store = store
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._turns = Turns()
        self._in_hand: list[float] = []
        self._waiting_since: float | None = None
        self._failed_at: float | None = None
        self.recorded = 0
        """Events written since the start."""
        self.pending = 0
        """Messages that were still to come at the last batch."""

    @property
    def waiting_seconds(self) -> float:
        """Age of the oldest batch that is taken and not yet written; 0 when there is none."""
        now = self._clock.monotonic()
        if self._failed_at is not None and now - self._failed_at > _REDELIVERED_SECONDS:
            # It did not come back to this replica: another one has it.
            self._waiting_since = self._failed_at = None
        return 0.0 if self._waiting_since is None else now - self._waiting_since

    async def work(
        self, consumer: str, subject: str, *, batch: int, ack_wait: float = 5.0
    ) -> Worker:
        """Take what a durable consumer delivers, until the worker is stopped."""
        return await self._bus.work(
            self._stream,
            consumer,
            subject,
            self.handle,
            batch=batch,
            ack_wait=ack_wait,
            max_deliver=NEVER_GIVE_UP,
            parallel=_IN_HAND,
        )

    async def handle(self, deliveries: list[Delivery]) -> None:
        """Record a batch; what it leaves unsettled is acknowledged by the caller.

        Batches are committed in the order of the calls, so that what comes before a round in the
        stream is recorded when the round is answered.
        """
        began, begun_at, turn = self._begin(deliveries), now(), self._turns.draw()
        try:
            readable, unreadable = await _read(deliveries)
            await turn.come()
            for delivery, reason in unreadable:
                await self._reject(delivery, reason)
            asked = now()
            await self._record(readable)
            recorded = now()
            turn.leave()
            await self._observe([event for _, event in readable])
        except _AWAY as error:
            self._in_hand.remove(began)
            turn.leave()
            await self._come_again(deliveries, error)
            return
        except BaseException:
            self._in_hand.remove(began)
            raise
        finally:
            turn.leave()
        if self._spans is not None:
            messages = [delivery for delivery, _ in readable]
            self._spans.write(messages, began=begun_at, asked=asked, recorded=recorded)
        self._in_hand.remove(began)
        self._waiting_since = self._in_hand[0] if self._in_hand else None
        self._metrics.sink_seconds.observe(self._clock.monotonic() - began)

    def _begin(self, deliveries: list[Delivery]) -> float:
        began = self._clock.monotonic()
        self._in_hand.append(began)
        if self._waiting_since is None:
            self._waiting_since = began
        self._failed_at = None
        self._metrics.received.labels(self._stream).inc(len(deliveries))
        self.pending = deliveries[-1].pending
        self._metrics.sink_pending.labels(self._stream).set(self.pending)
        return began

    async def _come_again(self, deliveries: list[Delivery], error: BaseException) -> None:
        """Hand a batch back while PostgreSQL or NATS is away: nothing is lost by waiting."""
        self._failed_at = self._clock.monotonic()
        self._metrics.errors.labels("database").inc()
        log.warning("sink_waits", stream=self._stream, messages=len(deliveries), error=repr(error))
        # Waiting here, not only at the server, keeps the other batches from failing one by one.
        await self._clock.sleep(_COME_AGAIN_SECONDS)
        for delivery in deliveries:
            if not delivery.settled:
                await delivery.nak(0)

    async def _record(self, batch: Sequence[tuple[Delivery, LedgerEvent]]) -> None:
        try:
            self._count(await self._store.record([event for _, event in batch]))
        except TRANSIENT:
            raise
        except Exception as error:
            # One event that cannot be written must not hold up the others: find it.
            self._metrics.errors.labels("record").inc()
            log.exception("batch_not_recorded", messages=len(batch))
            if len(batch) > 1:
                for item in batch:
                    await self._record([item])
                return
            await self._reject(batch[0][0], f"cannot be recorded: {error}")

    def _count(self, new: int) -> None:
        self.recorded += new
        self._metrics.recorded.inc(new)

    async def _reject(self, delivery: Delivery, reason: str) -> None:
        self._metrics.rejected.inc()
        self._metrics.errors.labels("unreadable").inc()
        log.error("event_rejected", subject=delivery.subject, at=delivery.sequence, reason=reason)
        await self._store.reject(
            Rejection(self._stream, delivery.sequence, delivery.subject, delivery.type, reason)
        )
        await delivery.reject(reason)

    async def _observe(self, events: Sequence[LedgerEvent]) -> None:
        """Answer the newest decided round of each account: all before it are recorded too.

        exec_risk waits for this before market time moves on, for one round at a time.
        """
        rounds = (f for e in events if e.type == ROUND_DECIDED for f in e.facts)
        newest: dict[str, RoundFact] = {}
        for fact in rounds:
            if isinstance(fact, RoundFact) and (
                fact.account not in newest or newest[fact.account].time < fact.time
            ):
                newest[fact.account] = fact
        if self._before_answer is not None:
            for fact in newest.values():
                await self._before_answer(fact.account, fact.time)
        if newest:
            answers = [observed(fact) for fact in newest.values()]
            await self._bus.publish_all(answers)
            self._metrics.published.inc(len(answers))


async def _read(
    deliveries: Sequence[Delivery],
) -> tuple[list[tuple[Delivery, LedgerEvent]], list[tuple[Delivery, str]]]:
    """Return what can be read, and what cannot with the reason."""
    readable, unreadable = [], []
    for number, delivery in enumerate(deliveries, 1):
        if number % _SLICE == 0:
            await asyncio.sleep(0)
        try:
            readable.append((delivery, to_event(delivery)))
        except Unreadable as error:
            unreadable.append((delivery, str(error)))
    return readable, unreadable


def observed(fact: RoundFact) -> Outgoing:
    """Return the answer to a decided round; the same round has the same answer."""
    message = published.RoundObserved(account=fact.account, time=time_to_pb(fact.time))
    return Outgoing(
        subjects.round_observed(fact.account),
        message.SerializeToString(),
        digest(ROUND_OBSERVED, fact.account, fact.time),
        {
            subjects.HEADER_TYPE: ROUND_OBSERVED,
            subjects.HEADER_SOURCE: ANALYTICS.name,
            subjects.HEADER_TIME: str(fact.time),
            subjects.HEADER_TRACE: traceparent(trace_id(f"round.{fact.account}.{fact.time}")),
        },
    )


class HeartbeatBook:
    """The last heartbeat of every replica, in the memory of this one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: dict[tuple[str, str], Heartbeat] = {}
        self.live = False
        """False while old heartbeats are read: then their own time counts, not their arrival."""

    def hear(self, message: Message) -> None:
        """Take in one heartbeat."""
        try:
            beat = ops.ServiceHeartbeat.FromString(message.data)
        except DecodeError:
            log.error("heartbeat_unreadable", subject=message.subject, at=message.sequence)
            return
        now = self._clock.now().timestamp()
        known = beat.status in Status.__members__
        self._last[(beat.service_name, beat.instance)] = Heartbeat(
            service=beat.service_name,
            instance=beat.instance,
            status=Status[beat.status] if known else Status.CRITICAL,
            seen_at=now if self.live else min(now, beat.time.ToMilliseconds() / 1000),
            reason=beat.reason if known else f"unknown status {beat.status!r}",
            uptime_seconds=beat.uptime_seconds,
            cpu_percent=beat.cpu_percent,
            memory_percent=beat.memory_percent,
            progress=dict(beat.progress),
            leaving=beat.leaving,
            parts=tuple(Part(c.name, c.ready, c.reason) for c in beat.components),
        )

    def forget(self, *, before: float) -> None:
        """Drop replicas that were last heard before a wall time, when their service has others."""
        for key, beat in list(self._last.items()):
            others = [b for b in self._last.values() if b.service == beat.service and b != beat]
            if beat.seen_at < before and any(b.seen_at >= before for b in others):
                del self._last[key]

    def all(self) -> list[Heartbeat]:
        """Return the last heartbeat of each replica."""
        return list(self._last.values())
