"""Many readers on one connection, handlers that hang, and starting twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from services.catalog.subjects import DEADLETTER, Stream
from services.kit.bus.bus import Bus, Delivery, Message, Outgoing
from services.kit.observe import logs
from tests.support.eventually import eventually

SAMPLE = Stream("SAMPLE", ("sample.>",), max_age_seconds=600)


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    bus = await Bus.connect(nats_url, "test")
    await bus.declare([SAMPLE, DEADLETTER])
    yield bus
    await bus.close()


@pytest.fixture
def debug_logs() -> Iterator[None]:
    logs.configure("tests", "tests", "DEBUG", "json")
    yield
    logs.configure("tests", "tests", "WARNING", "json")


def numbered(count: int, start: int = 0) -> list[Outgoing]:
    return [Outgoing(f"sample.{i % 7}", b"%d" % i, f"id-{i}") for i in range(start, start + count)]


async def test_many_readers_do_not_starve_each_other_nor_publishing(bus: Bus) -> None:
    """Incident 75: waiting readers took all connections; a loop that began too soon ended."""
    seen = [0] * 40

    def reader(number: int) -> None:
        def count(_: Message) -> None:
            seen[number] += 1

        readers.append(count)

    readers: list[object] = []
    for number in range(len(seen)):
        reader(number)
    for count in readers:
        await bus.follow("SAMPLE", "sample.>", count)  # type: ignore[arg-type]
    worked: list[str] = []

    async def work(deliveries: list[Delivery]) -> None:
        worked.extend(d.message_id for d in deliveries)

    await bus.work("SAMPLE", "early", "sample.>", work)
    await bus.publish_all(numbered(100))
    await eventually(lambda: seen == [100] * len(seen) and len(worked) == 100, 20)

    late: list[str] = []

    async def work_late(deliveries: list[Delivery]) -> None:
        late.extend(d.message_id for d in deliveries)

    await bus.work("SAMPLE", "late", "sample.>", work_late)
    await eventually(lambda: len(late) == 100, 10)
    await bus.publish_all(numbered(10, start=100))
    await eventually(lambda: len(late) == 110 and len(worked) == 110, 10)


async def test_a_handler_that_hangs_shows_its_age(bus: Bus) -> None:
    """Incident 60: a process that lives while its consumer hangs."""
    released = asyncio.Event()

    async def hang(_: list[Delivery]) -> None:
        await released.wait()

    await bus.work("SAMPLE", "hangs", "sample.>", hang)
    assert bus.handling_seconds == 0
    await bus.publish_all(numbered(3))
    await eventually(lambda: bus.handling_seconds > 0.3, 10)
    released.set()
    await eventually(lambda: bus.handling_seconds == 0, 10)


async def test_it_starts_twice_at_debug(nats_url: str, debug_logs: None) -> None:
    """Incident 72: log calls with fields raised at DEBUG and killed the consumer."""
    for number in range(2):
        logs.configure("tests", f"run-{number}", "DEBUG", "console")
        bus = await Bus.connect(nats_url, f"run-{number}")
        try:
            await bus.declare([SAMPLE, DEADLETTER])
            got: list[int] = []
            await bus.follow("SAMPLE", "sample.>", lambda m, got=got: got.append(m.sequence))  # type: ignore[misc]
            await bus.publish_all(numbered(5, start=5 * number))
            await eventually(lambda got=got, most=5 * (number + 1): len(got) == most, 10)  # type: ignore[misc]
            logs.get_logger("any").debug("started", number=number, error=ValueError("x"))
        finally:
            await bus.close()
