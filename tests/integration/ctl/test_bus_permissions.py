"""Users of the bus on a real server: what each may do, and every way around it thought of."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from quantum.ai.v1 import signal_pb2

from services.catalog import subjects
from services.catalog.subjects import EVENTS, LIVE, MARKET, STREAMS
from services.ctl import policy
from services.ctl.identities import Identities
from services.ctl.render.bus import OPERATOR
from services.ctl.servers.nats import NatsServer
from services.kit.bus.bus import Bus, BusDenied, BusUnavailable, Delivery, Message
from services.kit.bus.login import BadLogin, BusLogin, inbox_prefix
from tests.support.eventually import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORGED = signal_pb2.Signal(signal_id="forged", symbol="BTCUSDT").SerializeToString()
SIGNAL = subjects.signal("BTCUSDT")
HEALTH = subjects.event("health.status", "main", "ai")
API = "$JS.API"


class Guarded:
    """A server with identities, and its users."""

    def __init__(self, server: NatsServer, identities: Identities) -> None:
        self.server = server
        self.identities = identities

    def login(self, user: str) -> BusLogin:
        return BusLogin(user, self.identities.nkey_file(user))

    @asynccontextmanager
    async def bus(self, user: str) -> AsyncIterator[Bus]:
        bus = await Bus.connect(self.server.url, f"test {user}", self.login(user))
        try:
            yield bus
        finally:
            await bus.close()

    async def stored(self, stream: str, subject: str) -> list[Any]:
        """Everything that the stream holds under the subject."""
        async with self.bus(OPERATOR) as bus:
            found: list[Any] = []
            context = bus.client.jetstream(timeout=5)
            state = (await context.stream_info(stream)).state
            for sequence in range(max(state.first_seq, 1), state.last_seq + 1):
                message = await context.get_msg(stream, sequence)
                if message.subject == subject:
                    found.append(message)
            return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    folder = tmp_path_factory.mktemp("bus")
    identities = Identities(folder / "identities", policy.load())
    server = NatsServer(directory=folder / "nats", identities=identities)
    await server.launch()
    try:
        found = Guarded(server, identities)
        async with found.bus(OPERATOR) as bus:
            await bus.declare(STREAMS)
        yield found
    finally:
        await server.stop()


class Intruder:
    """A service that was taken over: its key, and a client that does as it likes."""

    def __init__(self, client: Client, denied: list[str]) -> None:
        self.client = client
        self.denied = denied

    async def asks(self, subject: str, body: Any = None, reply: str = "") -> None:
        """Send one request, and wait until the server has dealt with it."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        reply = reply or self.client.new_inbox()
        await self.client.publish(subject, data, reply=reply, headers={"Nats-Msg-Id": "intruder"})
        await self.client.flush()

    async def answer(self, subject: str, body: Any) -> dict[str, Any]:
        got = await self.client.request(subject, json.dumps(body).encode(), timeout=5)
        return dict(json.loads(got.data))


@asynccontextmanager
async def intruder(guarded: Guarded, user: str = "analytics") -> AsyncIterator[Intruder]:
    denied: list[str] = []

    async def hear(error: Exception) -> None:
        denied.append(str(error).lower())

    client = await nats.connect(
        guarded.server.url,
        nkeys_seed=str(guarded.identities.nkey_file(user)),
        inbox_prefix=inbox_prefix(user).encode(),
        error_cb=hear,
    )
    try:
        yield Intruder(client, denied)
    finally:
        await client.close()


async def test_a_forged_signal_is_refused_and_nothing_is_stored(guarded: Guarded) -> None:
    signal = subjects.signal("SOLUSDT")
    async with guarded.bus("analytics") as bus, asyncio.timeout(5):
        with pytest.raises(BusDenied, match=f"may not publish to {signal}"):
            await bus.publish(signal, FORGED, message_id="forged")
    assert await guarded.stored(LIVE.name, signal) == []


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("exec_risk", SIGNAL),
        ("ai", subjects.round_candles("paper", "1m", 0)),
        ("analytics", subjects.round_candles("paper", "1m", 0)),
        ("analytics", subjects.event("fill.recorded", "main", "BTCUSDT")),
        ("exec_risk", HEALTH),
        ("ai", subjects.heartbeat("exec-risk-service")),
        ("analytics", subjects.candles_wanted("paper", "1m", "BTCUSDT")),
        ("trainer", subjects.candles_wanted("paper", "1m", "BTCUSDT")),
        ("ai", subjects.deadletter("EVENTS", "analytics-ledger")),
    ],
)
async def test_each_publishes_its_own_alone(guarded: Guarded, user: str, subject: str) -> None:
    async with guarded.bus(user) as bus, asyncio.timeout(5):
        with pytest.raises(BusDenied):
            await bus.publish(subject, b"x", message_id="not-mine")


async def test_what_each_needs_works(guarded: Guarded) -> None:
    """Publishing, following, working, single reads and dead letters, each as its own user."""
    candle = subjects.round_candles("paper", "1m", 0)
    worked: list[Delivery] = []
    followed: list[Message] = []

    async def poison(batch: list[Delivery]) -> None:
        worked.extend(batch)
        for delivery in batch:
            await delivery.reject("poison")

    async with (
        guarded.bus("exec_risk") as exec_risk,
        guarded.bus("ai") as ai,
        guarded.bus("analytics") as analytics,
        asyncio.timeout(20),
    ):
        for bus in (exec_risk, ai, analytics):
            await bus.require(STREAMS)
        await exec_risk.publish(candle, b"candle", message_id="candle-1")
        assert (await exec_risk.last(MARKET.name, candle) or Message("", b"", {}, 0)).data
        await ai.follow(MARKET.name, subjects.ALL_CANDLES, followed.append)
        await ai.work(MARKET.name, subjects.AI_WORK_CONSUMER, subjects.ALL_CANDLES, poison)
        await eventually(lambda: _both(worked, followed), 5, 0.02)
        await ai.publish(subjects.signal("ETHUSDT"), b"real", message_id="real-1")
        signals: list[Message] = []
        await exec_risk.follow(LIVE.name, subjects.ALL_SIGNALS, signals.append)
        own = subjects.account_events("main")
        await exec_risk.follow(EVENTS.name, own, followed.append, start="new")
        await analytics.follow(LIVE.name, subjects.ALL_HEARTBEATS, followed.append)
        await analytics.work(LIVE.name, subjects.LEDGER_LIVE_CONSUMER, subjects.ALL_SIGNALS, poison)
        await eventually(lambda: _both(signals, worked[1:]), 5, 0.02)
    dead = subjects.deadletter(MARKET.name, subjects.AI_WORK_CONSUMER)
    assert b"candle" in [message.data for message in await guarded.stored("DEADLETTER", dead)]


async def _both(*lists: list[Any]) -> bool:
    return all(lists)


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


async def test_streams_that_are_not_as_declared_are_told(guarded: Guarded) -> None:
    """A stream that republishes would feed others unseen."""
    async with guarded.bus(OPERATOR) as operator, guarded.bus("ai") as ai:
        context = operator.client.jetstream(timeout=5)
        config = (await context.stream_info(EVENTS.name)).config
        config.republish = nats.js.api.RePublish(src="quantum.events.>", dest="elsewhere.>")
        await context.update_stream(config)
        try:
            with pytest.raises(BusUnavailable, match=r"EVENTS\.republish is"):
                await ai.require(STREAMS)
        finally:
            await operator.declare(STREAMS)
        await ai.require(STREAMS)


async def test_ai_asks_for_candles_and_exec_risk_hears_it(guarded: Guarded) -> None:
    heard: list[Message] = []
    subject = subjects.candles_wanted("paper", "1m", "BTCUSDT")
    async with guarded.bus("exec_risk") as publisher, guarded.bus("ai") as reader:
        await publisher.follow(LIVE.name, subjects.ALL_CANDLES_WANTED, heard.append, start="new")
        await reader.publish(subject, b"", message_id="wanted-1")
        await reader.publish(
            subjects.candles_missing("paper", "1m", "BTCUSDT"), b"", message_id="missing-1"
        )
        await eventually(lambda: [m.subject for m in heard] == [subject])


async def test_a_denied_request_is_told_at_once(guarded: Guarded) -> None:
    async with guarded.bus("ai") as bus, asyncio.timeout(2):
        with pytest.raises(BusDenied, match=r"consumer\.create\.events"):
            await bus.follow(EVENTS.name, subjects.ALL_EVENTS, lambda _: None)
        with pytest.raises(BusDenied, match=r"msg\.get\.events"):
            await bus.last(EVENTS.name, HEALTH)


async def test_nobody_gets_in_without_a_key(guarded: Guarded) -> None:
    stranger = Identities(guarded.identities.folder.parent / "strangers", policy.load())
    tried: list[dict[str, Any]] = [{}, {"nkeys_seed": str(stranger.nkey_file("ai"))}]
    for options in tried:
        client = Client()
        with pytest.raises(nats.errors.Error, match=r"(?i)authorization violation"):
            await client.connect(guarded.server.url, allow_reconnect=False, **options)
        await client.close()
        if client._transport is not None:
            client._transport.close()  # type: ignore[no-untyped-call]


async def test_a_seed_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    seed = Identities(tmp_path / "made", policy.load()).nkey_file("ai")
    assert seed.stat().st_mode & 0o777 == 0o600
    seed.chmod(0o604)
    with pytest.raises(BadLogin, match="everybody can read it"):
        BusLogin("ai", seed).options()


async def test_a_seed_is_replaced_without_restarting_the_service(tmp_path: Path) -> None:
    """The server takes the new keys when it starts, the service when it connects again."""
    identities = Identities(tmp_path / "identities", policy.load())
    server = NatsServer(directory=tmp_path / "nats", identities=identities)
    await server.launch()
    try:
        own = Guarded(server, identities)
        async with own.bus(OPERATOR) as operator:
            await operator.declare(STREAMS)
        async with own.bus("ai") as bus:
            await bus.publish(SIGNAL, b"before", message_id="1")
            before = identities.public_keys()["ai"]
            identities.nkey_file("ai").unlink()
            await server.stop()
            await server.launch()
            assert identities.public_keys()["ai"] != before
            await bus.publish(SIGNAL, b"after", message_id="2", deadline=20)
    finally:
        await server.stop()


async def test_the_configuration_holds_no_seed(guarded: Guarded) -> None:
    text = guarded.server.configuration()
    for user in guarded.identities.public_keys():
        assert guarded.identities.nkey_file(user).read_text() not in text
