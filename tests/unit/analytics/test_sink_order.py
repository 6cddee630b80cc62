"""Two batches in hand are committed in the stream's order, and rounds are answered after them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from quantum.analytics.v1 import events_pb2 as published

from services.analytics.consumers import Sink
from services.analytics.core.ledger import LedgerEvent
from services.analytics.metrics import AnalyticsMetrics
from services.analytics.store import LedgerStore, Rejection
from services.kit.bus.bus import Bus, Delivery, Outgoing
from services.kit.clock import SystemClock
from services.kit.observe.metrics import Metrics
from services.trade.codec import time_from_pb
from tests.integration.analytics.ledger_samples import (
    MAY,
    MINUTE,
    delivered,
    outgoing,
    round_decided,
)


class GatedStore(LedgerStore):
    """A ledger that writes when it is let, and fails when it is told."""

    def __init__(self, story: list[str]) -> None:
        self._story = story
        self.gate = asyncio.Event()
        self.failures: list[Exception] = []

    async def record(self, events: Sequence[LedgerEvent]) -> int:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop()
        self._story.append(f"commit {[e.sequence for e in events]}")
        return len(events)

    async def reject(self, rejection: Rejection) -> None:
        await self.gate.wait()
        self._story.append(f"reject {rejection.sequence}")


class StoryBus(Bus):
    """A bus that writes down the rounds that are answered."""

    def __init__(self, story: list[str]) -> None:
        self._story = story

    async def publish_all(
        self, messages: Sequence[Outgoing], *, deadline: float = 10.0
    ) -> list[int]:
        times = [time_from_pb(published.RoundObserved.FromString(m.data).time) for m in messages]
        self._story += [f"answer {(time - MAY) // MINUTE}" for time in times]
        return [1 for _ in messages]


class QuickClock(SystemClock):
    """Real time without its pauses."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


def sink_with(story: list[str]) -> tuple[Sink, GatedStore]:
    """A sink over a gated store."""
    store = GatedStore(story)
    metrics = AnalyticsMetrics(Metrics("test"))
    return Sink(
        stream="EVENTS", store=store, bus=StoryBus(story), clock=QuickClock(), metrics=metrics
    ), store


def batch(*numbers: int) -> list[Delivery]:
    """Deliveries of rounds: the number is the minute and the place in the stream."""
    found = []
    for number in numbers:
        sent = outgoing(round_decided(MAY + number * MINUTE, wallet="1"))
        message = delivered(sent, number)
        found.append(Delivery(message.subject, message.data, message.headers, message.sequence))
    return found


async def test_batches_are_committed_in_their_order_though_the_next_is_read_meanwhile() -> None:
    story: list[str] = []
    sink, store = sink_with(story)
    first = batch(1, 2)
    first.append(Delivery("quantum.event.x", b"", {}, 3))
    tasks = [asyncio.create_task(sink.handle(b)) for b in (first, batch(4), batch(6, 5))]
    await asyncio.sleep(0.01)
    assert story == [] and sink.waiting_seconds > 0
    store.gate.set()
    await asyncio.gather(*tasks)
    commits = [line for line in story if not line.startswith("answer")]
    assert commits == ["reject 3", "commit [1, 2]", "commit [4]", "commit [6, 5]"]
    assert [line for line in story if line.startswith("answer")] == [
        "answer 2",
        "answer 4",
        "answer 6",
    ]
    for answer, commit in ((2, "[1, 2]"), (4, "[4]"), (6, "[6, 5]")):
        assert story.index(f"answer {answer}") > story.index(f"commit {commit}")
    assert sink.waiting_seconds == 0


async def test_a_batch_that_failed_still_waits_while_another_is_in_hand() -> None:
    story: list[str] = []
    sink, store = sink_with(story)
    store.failures = [ConnectionResetError("gone")]
    failed = batch(1)
    task = asyncio.create_task(sink.handle(failed))
    store.gate.set()
    await task
    assert story == [] and failed[0].settled
    assert sink.waiting_seconds > 0
    await sink.handle(batch(1))
    assert story == ["commit [1]", "answer 1"] and sink.waiting_seconds == 0
