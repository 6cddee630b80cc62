"""Users of the bus on a real server: what each may do, and who gets in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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
from services.kit.bus.bus import BusDenied, BusUnavailable, Delivery, Message
from services.kit.bus.login import BadLogin, BusLogin
from tests.support.eventually import eventually
from tests.support.guarded_bus import Guarded

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORGED = signal_pb2.Signal(signal_id="forged", symbol="BTCUSDT").SerializeToString()
SIGNAL = subjects.signal("BTCUSDT")
HEALTH = subjects.event("health.status", "main", "ai")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Guarded]:
    async with Guarded.serving(tmp_path_factory.mktemp("bus")) as found:
        yield found


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
        (stored,) = await exec_risk.stored(MARKET.name, subjects.ALL_OF_MARKET, "last")
        assert stored.data == b"candle"
        await ai.publish(subjects.signal("BTCUSDT"), b"first", message_id="real-0")
        assert await exec_risk.last(LIVE.name, subjects.signal("BTCUSDT")) is not None
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
    async with Guarded.serving(tmp_path) as own, own.bus("ai") as bus:
        await bus.publish(SIGNAL, b"before", message_id="1")
        before = own.identities.public_keys()["ai"]
        own.identities.nkey_file("ai").unlink()
        await own.server.stop()
        await own.server.launch()
        assert own.identities.public_keys()["ai"] != before
        await bus.publish(SIGNAL, b"after", message_id="2", deadline=20)


async def test_the_configuration_holds_no_seed(guarded: Guarded) -> None:
    text = guarded.server.configuration()
    for user in guarded.identities.public_keys():
        assert guarded.identities.nkey_file(user).read_text() not in text
