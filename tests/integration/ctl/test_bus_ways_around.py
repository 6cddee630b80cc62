"""A service that was taken over: every way around its permissions that was thought of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from quantum.ai.v1 import signal_pb2

from services.catalog import subjects
from services.catalog.subjects import LIVE, MARKET
from services.kit.bus.bus import Delivery, Message
from tests.support.eventually import eventually
from tests.support.guarded_bus import Guarded, Intruder, intruder

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORGED = signal_pb2.Signal(signal_id="forged", symbol="BTCUSDT").SerializeToString()
SIGNAL = subjects.signal("BTCUSDT")
HEALTH = subjects.event("health.status", "main", "ai")
API = "$JS.API"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    async with Guarded.serving(tmp_path_factory.mktemp("bus")) as found:
        yield found


CLOSED: list[tuple[str, Any]] = [
    # the streams themselves
    (f"{API}.STREAM.CREATE.STOLEN", {"name": "STOLEN", "subjects": ["quantum.live2.>"]}),
    (f"{API}.STREAM.CREATE.STOLEN", {"name": "STOLEN", "sources": [{"name": "MARKET"}]}),
    (f"{API}.STREAM.CREATE.STOLEN", {"name": "STOLEN", "mirror": {"name": "EVENTS"}}),
    (f"{API}.STREAM.UPDATE.LIVE", {"name": "LIVE", "sources": [{"name": "EVENTS"}]}),
    (
        f"{API}.STREAM.UPDATE.EVENTS",
        {"name": "EVENTS", "republish": {"src": ">", "dest": "quantum.live.signal.generated.>"}},
    ),
    (f"{API}.STREAM.RESTORE.LIVE", {"config": {"name": "LIVE"}, "state": {}}),
    (f"{API}.STREAM.SNAPSHOT.LIVE", {"deliver_subject": "_INBOX_analytics.x"}),
    (f"{API}.STREAM.DELETE.LIVE", None),
    (f"{API}.STREAM.PURGE.LIVE", None),
    (f"{API}.STREAM.MSG.DELETE.LIVE", {"seq": 1}),
    (f"{API}.STREAM.LEADER.STEPDOWN.LIVE", None),
    (f"{API}.STREAM.LIST", None),
    (f"{API}.ACCOUNT.PURGE.$G", None),
    (f"{API}.STREAM.MSG.GET.LIVE", {"seq": 1}),
    # a direct read answers with a stored message under any subject
    (f"{API}.DIRECT.GET.EVENTS", {"seq": 1}),
    (f"{API}.DIRECT.GET.EVENTS.{HEALTH}", None),
    # consumers without the filter in the subject, and those of others
    (f"{API}.CONSUMER.CREATE.EVENTS", {"stream_name": "EVENTS", "config": {}}),
    (f"{API}.CONSUMER.CREATE.EVENTS.mine", {"stream_name": "EVENTS", "config": {"name": "mine"}}),
    (f"{API}.CONSUMER.DURABLE.CREATE.EVENTS.mine", {"stream_name": "EVENTS", "config": {}}),
    (
        f"{API}.CONSUMER.CREATE.MARKET.ai-work.quantum.market.>",
        {"stream_name": "MARKET", "config": {"name": "ai-work", "durable_name": "ai-work"}},
    ),
    (f"{API}.CONSUMER.MSG.NEXT.MARKET.ai-work", {"batch": 1}),
    (f"{API}.CONSUMER.DELETE.MARKET.ai-work", None),
    (f"{API}.CONSUMER.PAUSE.MARKET.ai-work", {"pause_until": "2099-01-01T00:00:00Z"}),
    (f"{API}.CONSUMER.NAMES.MARKET", None),
    (f"{API}.CONSUMER.LIST.MARKET", None),
    ("$JS.ACK.MARKET.ai-work.1.1.1.1.0", b"+TERM"),
    # the replies of others, and the server itself
    ("_INBOX_ai.guessed", b"x"),
    ("_INBOX_exec_risk.guessed.1", b"x"),
    ("$SYS.REQ.SERVER.PING", None),
]


@pytest.mark.parametrize(("subject", "body"), CLOSED, ids=[s for s, _ in CLOSED])
async def test_the_ways_around_are_closed(guarded: Guarded, subject: str, body: Any) -> None:
    async with intruder(guarded) as found:
        await found.asks(subject, body)

        async def refused() -> bool:
            return any(subject.lower() in line for line in found.denied)

        await eventually(refused, 5, 0.02)


@pytest.mark.parametrize(
    "subject", ["_INBOX_ai.>", "_INBOX.>", "quantum.>", ">", "$JS.API.>", "$SYS.>", "*.*"]
)
async def test_nobody_listens_to_others(guarded: Guarded, subject: str) -> None:
    async with intruder(guarded) as found:
        await found.client.subscribe(subject)
        await found.client.flush()

        async def refused() -> bool:
            return any(f'subscription to "{subject.lower()}"' in line for line in found.denied)

        await eventually(refused, 5, 0.02)


async def test_a_consumer_reads_only_what_its_subject_says(guarded: Guarded) -> None:
    """The filter that is checked is the one that counts; so is the name."""
    allowed = f"{API}.CONSUMER.CREATE.LIVE.mine.quantum.live.prediction.>"
    fitting = {
        "name": "mine",
        "ack_policy": "none",
        "filter_subject": "quantum.live.prediction.>",
    }
    tried: list[dict[str, Any]] = [
        {"filter_subject": "quantum.live.>"},
        {"filter_subject": ""},
        {"filter_subject": "", "filter_subjects": ["quantum.live.>"]},
        {"durable_name": "analytics-live"},
    ]
    async with intruder(guarded, "ai") as found:
        for change in tried:
            body = {"stream_name": "LIVE", "config": {**fitting, **change}}
            assert (await found.answer(allowed, body))["error"]["code"] == 400, change
        body = {"stream_name": "EVENTS", "config": fitting}
        assert (await found.answer(allowed, body))["error"]["code"] == 400
        body = {"stream_name": "LIVE", "config": {**fitting, "name": "analytics-live"}}
        assert (await found.answer(allowed, body))["name"] == "mine"


Way = Callable[[Intruder], Any]


async def _by_push(found: Intruder) -> None:
    """A consumer that delivers to a subject of a stream: the server sees no one who listens."""
    config = {
        "name": "pushes",
        "ack_policy": "none",
        "deliver_policy": "all",
        "filter_subject": HEALTH,
        "deliver_subject": SIGNAL,
    }
    subject = f"{API}.CONSUMER.CREATE.EVENTS.pushes.{HEALTH}"
    await found.answer(subject, {"stream_name": "EVENTS", "config": config})


async def _by_pull(found: Intruder) -> None:
    """A pull whose answer shall go to a subject of a stream: it is stored under its own subject."""
    config = {"name": "pulls", "ack_policy": "none", "filter_subject": HEALTH}
    subject = f"{API}.CONSUMER.CREATE.EVENTS.pulls.{HEALTH}"
    await found.answer(subject, {"stream_name": "EVENTS", "config": config})
    await found.asks(f"{API}.CONSUMER.MSG.NEXT.EVENTS.pulls", {"batch": 10}, reply=SIGNAL)


async def _by_acknowledgement(found: Intruder) -> None:
    """The server's acknowledgement of a message of its own goes where the publisher says."""
    await found.client.publish(HEALTH, FORGED, reply=SIGNAL)


async def _by_answer(found: Intruder) -> None:
    """An answer of the server's interface goes where the asker says."""
    await found.asks(f"{API}.STREAM.INFO.EVENTS", None, reply=SIGNAL)


@pytest.mark.parametrize("way", [_by_push, _by_pull, _by_acknowledgement, _by_answer])
async def test_what_is_open_forges_nothing(guarded: Guarded, way: Way) -> None:
    """No service ever handles it: what lies under the subject is at most an answer of the server,
    which has no message id."""
    handled: list[Message] = []
    async with guarded.bus("exec_risk") as bus, intruder(guarded) as found:
        await bus.follow(LIVE.name, SIGNAL, handled.append)
        await found.client.request(HEALTH, FORGED, headers={"Nats-Msg-Id": f"bait-{way.__name__}"})
        await way(found)
        await found.client.request(HEALTH, FORGED, headers={"Nats-Msg-Id": f"more-{way.__name__}"})
        await asyncio.sleep(0.5)
        async with guarded.bus("ai") as ai:
            await ai.publish(SIGNAL, b"genuine", message_id=f"genuine-{way.__name__}")

        async def arrived() -> bool:
            return f"genuine-{way.__name__}" in [m.message_id for m in handled]

        await eventually(arrived, 5, 0.02)
    assert {m.data for m in handled} == {b"genuine"}
    for message in await guarded.stored(LIVE.name, SIGNAL):
        assert message.data == b"genuine" or "Nats-Msg-Id" not in (message.headers or {})


async def test_a_worker_puts_what_no_service_published_aside(guarded: Guarded) -> None:
    handled: list[Delivery] = []

    async def handle(batch: list[Delivery]) -> None:
        handled.extend(batch)

    async with (
        intruder(guarded, "exec_risk") as found,
        guarded.bus("ai") as ai,
        asyncio.timeout(20),
    ):
        await found.client.publish(subjects.round_candles("paper", "1m", 0), b"without an id")
        await found.client.flush()
        await ai.work(MARKET.name, subjects.AI_WORK_CONSUMER, subjects.ALL_CANDLES, handle)
        dead = subjects.deadletter(MARKET.name, subjects.AI_WORK_CONSUMER)

        async def aside() -> bool:
            found = await guarded.stored("DEADLETTER", dead)
            return b"without an id" in [message.data for message in found]

        await eventually(aside, 10, 0.1)
    assert b"without an id" not in [delivery.data for delivery in handled]
