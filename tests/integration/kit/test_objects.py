"""Objects on a real server: written once, whole or not at all, readable by other clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from services.catalog import subjects
from services.kit.bus.bus import Bus, BusRefused, Outgoing
from services.kit.bus.objects import ObjectDamaged, ObjectExists, Objects

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CONTENT = bytes(range(256)) * 2_000
"""Four chunks."""


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    opened = await Bus.connect(nats_url, "test")
    await opened.declare(subjects.STREAMS)
    yield opened
    await opened.close()


@pytest.fixture
def objects(bus: Bus) -> Objects:
    return Objects(bus, subjects.MODELS_BUCKET)


async def test_an_object_comes_back_with_its_description(objects: Objects) -> None:
    assert await objects.put("model-1", CONTENT, {"made by": "test"}, NOW)
    assert await objects.get("model-1") == CONTENT
    info = await objects.info("model-1")
    assert info is not None
    assert (info.size, info.chunks, info.stored_at) == (len(CONTENT), 4, NOW)
    assert info.metadata == {"made by": "test"}


async def test_nothing_and_an_empty_object_are_two_things(objects: Objects) -> None:
    assert await objects.get("nothing") is None
    await objects.put("empty", b"", {}, NOW)
    assert await objects.get("empty") == b""


async def test_the_same_again_is_no_change_and_other_content_is_refused(objects: Objects) -> None:
    await objects.put("model-1", CONTENT, {}, NOW)
    assert not await objects.put("model-1", CONTENT, {}, NOW)
    with pytest.raises(ObjectExists):
        await objects.put("model-1", CONTENT + b"x", {}, NOW)
    assert await objects.get("model-1") == CONTENT


async def test_of_two_who_write_the_same_name_at_once_one_wins(bus: Bus) -> None:
    async def put(content: bytes) -> bool:
        try:
            return await Objects(bus, subjects.MODELS_BUCKET).put("model-1", content, {}, NOW)
        except (ObjectExists, BusRefused):
            return False

    contents = [bytes([number]) * 300_000 for number in range(5)]
    won = await asyncio.gather(*(put(content) for content in contents))
    assert sum(won) == 1
    stored = await Objects(bus, subjects.MODELS_BUCKET).get("model-1")
    assert stored == contents[won.index(True)]


async def test_what_is_added_to_an_object_shows(bus: Bus, objects: Objects) -> None:
    """Incident 99: what is read is what was stored, or it is refused."""
    await objects.put("model-1", CONTENT, {}, NOW)
    info = await objects.info("model-1")
    assert info is not None
    await bus.publish(f"$O.models.C.{info.place}", b"more", message_id="more")
    with pytest.raises(ObjectDamaged, match="SHA-256"):
        await objects.get("model-1")


async def test_an_unreadable_description_is_told_and_hides_no_other(
    bus: Bus, objects: Objects
) -> None:
    bad = [b"", b"{}", b"[]", b'{"name": 1, "digest": "x", "mtime": "never"}', b"\xff"]
    await bus.publish_all(
        [Outgoing(f"$O.models.M.{n}", data, f"bad-{n}") for n, data in enumerate(bad)]
    )
    await objects.put("good", b"x", {}, NOW)
    await objects.follow()
    assert list(objects.known) == ["good"]


async def test_who_follows_learns_of_new_ones(bus: Bus, objects: Objects) -> None:
    await objects.follow()
    assert objects.known == {}
    await Objects(bus, subjects.MODELS_BUCKET).put("late", b"x", {}, NOW)
    async with asyncio.timeout(5):
        while "late" not in objects.known:
            await asyncio.sleep(0.02)


async def test_other_clients_read_it(bus: Bus, objects: Objects) -> None:
    """The layout is the one of NATS object stores."""
    await objects.put("model-1", CONTENT, {}, NOW)
    theirs = await bus.client.jetstream().object_store(subjects.MODELS_BUCKET)
    async with asyncio.timeout(10):
        found = await theirs.get("model-1")
    assert found.data == CONTENT
    assert [entry.name for entry in await theirs.list()] == ["model-1"]
