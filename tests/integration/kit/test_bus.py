"""The bus on a real NATS server: nothing lost, nothing doubled, poison put aside."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from services.catalog.subjects import DEADLETTER, HEADER_REASON, Stream
from services.ctl.servers.free import free_port
from services.ctl.servers.nats import NatsServer
from services.kit.bus.bus import Bus, BusUnavailable, Delivery, Message, Outgoing
from tests.support.eventually import eventually

SAMPLE = Stream("SAMPLE", ("sample.>",), max_age_seconds=600)


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    bus = await Bus.connect(nats_url, "test")
    await bus.declare([SAMPLE, DEADLETTER])
    yield bus
    await bus.close()


def numbered(count: int, start: int = 0) -> list[Outgoing]:
    return [Outgoing(f"sample.{i % 7}", b"%d" % i, f"id-{i}") for i in range(start, start + count)]


async def test_a_repeated_id_is_stored_once(bus: Bus) -> None:
    first = await bus.publish_all(numbered(50))
    second = await bus.publish_all(numbered(50))
    assert first == second == list(range(1, 51))


async def test_publishing_without_a_stream_fails_within_the_deadline(bus: Bus) -> None:
    with pytest.raises(BusUnavailable):
        await bus.publish("nowhere.x", b"", message_id="1", deadline=0.5)


async def test_declaring_again_changes_the_limits(bus: Bus) -> None:
    await bus.declare([Stream("SAMPLE", ("sample.>",), max_messages_per_subject=2)])
    await bus.publish_all([Outgoing("sample.x", b"", str(i)) for i in range(5)])
    seen: list[Message] = []
    follower = await bus.follow("SAMPLE", "sample.>", seen.append)
    async with asyncio.timeout(5):
        await follower.caught_up.wait()
    assert [m.message_id for m in seen] == ["3", "4"]


async def test_a_follower_waits_for_a_server_that_is_slow_at_the_start(
    bus: Bus, nats_server: NatsServer
) -> None:
    """Longer than one question may take: the next one is answered."""
    await bus.publish_all(numbered(3))
    assert nats_server.process is not None
    pid, seen = nats_server.process.pid, list[Message]()
    os.kill(pid, signal.SIGSTOP)
    try:
        await eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        opening = asyncio.create_task(bus.follow("SAMPLE", "sample.>", seen.append))
        await asyncio.sleep(2.2)
        assert not opening.done()
    finally:
        os.kill(pid, signal.SIGCONT)
    async with asyncio.timeout(10):
        follower = await opening
        await follower.caught_up.wait()
    assert len(seen) == 3


async def test_a_follower_has_the_past_and_then_the_present(bus: Bus) -> None:
    await bus.publish_all(numbered(1500))
    seen: list[Message] = []
    follower = await bus.follow("SAMPLE", "sample.>", seen.append)
    async with asyncio.timeout(5):
        await follower.caught_up.wait()
    sequence = await bus.publish("sample.y", b"now", message_id="now")
    assert await follower.wait_for(sequence, 2)
    assert [m.sequence for m in seen] == list(range(1, 1502))
    assert not await follower.wait_for(sequence + 1, 0.05)


async def test_a_bad_message_does_not_end_the_reading(bus: Bus) -> None:
    seen: list[bytes] = []

    def handle(message: Message) -> None:
        if message.data == b"1":
            raise ValueError("unreadable")
        seen.append(message.data)

    follower = await bus.follow("SAMPLE", "sample.>", handle)
    await bus.publish_all(numbered(3))
    assert await follower.wait_for(3, 2)
    assert seen == [b"0", b"2"]
    assert isinstance(follower.failure, ValueError)


async def test_two_workers_share_the_messages(bus: Bus, nats_url: str) -> None:
    other = await Bus.connect(nats_url, "other")
    counts: list[Counter[bytes]] = [Counter(), Counter()]

    async def handle(which: int, batch: list[Delivery]) -> None:
        await asyncio.sleep(0.002)
        counts[which].update(d.data for d in batch)

    for which, connection in enumerate((bus, other)):
        await connection.work("SAMPLE", "shared", "sample.>", partial(handle, which), batch=8)
    await bus.publish_all(numbered(400))
    async with asyncio.timeout(10):
        while sum(counts[0].values()) + sum(counts[1].values()) < 400:
            await asyncio.sleep(0.02)
    assert counts[0] + counts[1] == Counter(b"%d" % i for i in range(400))
    assert min(sum(c.values()) for c in counts) > 40
    await other.close()


async def test_a_failing_message_comes_again_and_is_then_put_aside(bus: Bus) -> None:
    """Incident 58: a handler that fails is tried again, then the message is kept with a reason."""
    tries: Counter[bytes] = Counter()

    async def handle(batch: list[Delivery]) -> None:
        tries.update(d.data for d in batch)
        if any(d.data == b"1" for d in batch):
            raise RuntimeError("cannot")

    await bus.work("SAMPLE", "poison", "sample.>", handle, batch=1, max_deliver=3)
    await bus.publish_all(numbered(3))
    dead: list[Message] = []
    await bus.follow("DEADLETTER", "quantum.deadletter.>", dead.append)
    async with asyncio.timeout(10):
        while not dead:
            await asyncio.sleep(0.02)
    assert tries == Counter({b"0": 1, b"1": 3, b"2": 1})
    assert dead[0].data == b"1"
    assert "3 times" in dead[0].headers[HEADER_REASON]


async def test_a_rejected_message_is_put_aside_at_once(bus: Bus) -> None:
    async def handle(batch: list[Delivery]) -> None:
        for delivery in batch:
            await delivery.reject("not a protobuf message")

    await bus.work("SAMPLE", "strict", "sample.>", handle)
    await bus.publish_all(numbered(1))
    dead: list[Message] = []
    await bus.follow("DEADLETTER", "quantum.deadletter.>", dead.append)
    async with asyncio.timeout(5):
        while not dead:
            await asyncio.sleep(0.02)
    assert dead[0].headers[HEADER_REASON] == "not a protobuf message"


async def test_a_killed_server_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Incident 77: the bus goes away and comes back; order is kept, nothing is doubled."""
    folder, port = tmp_path / "nats", free_port()
    worked: Counter[bytes] = Counter()
    followed: list[bytes] = []

    async def handle(batch: list[Delivery]) -> None:
        worked.update(d.data for d in batch)

    async with NatsServer.start(folder, port=port) as server:
        bus = await Bus.connect(server.url, "test")
        await bus.declare([SAMPLE, DEADLETTER])
        follower = await bus.follow("SAMPLE", "sample.>", lambda m: followed.append(m.data))
        await bus.work("SAMPLE", "w", "sample.>", handle, ack_wait=1)
        await bus.publish_all(numbered(500))
        server.kill()
        late = asyncio.create_task(bus.publish_all(numbered(500, 500), deadline=20))
        await asyncio.sleep(0.3)
    async with NatsServer.start(folder, port=port):
        await late
        assert await follower.wait_for(1000, 10)
        async with asyncio.timeout(15):
            while len(worked) < 1000:
                await asyncio.sleep(0.05)
        await bus.close()
    assert sorted(followed, key=int) == [b"%d" % i for i in range(1000)]
    assert followed[:500] == [b"%d" % i for i in range(500)]
