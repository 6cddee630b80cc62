"""Malformed requests crash nothing and leak nothing, and calls beside them are answered."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support import fuzz
from tests.support.eventually import eventually
from tests.support.front_door import FrontDoor, opened

pytestmark = pytest.mark.asyncio(loop_scope="module")
AT_ONCE = 16
ANSWER_SECONDS = 0.3
LARGEST_GROWTH = 64 << 20
SHORT, LONG = 400, 10_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FrontDoor]:
    async with opened(tmp_path_factory.mktemp("fuzz")) as door:
        yield door


async def send(door: FrontDoor, seed: int) -> None:
    """Send one request to one of the doors, and read what comes until it is quiet."""
    name = "tls" if seed % 3 == 0 else "ingress"
    trust: ssl.SSLContext | None = door.trust() if name == "tls" else None
    reader, writer = await asyncio.open_connection("localhost", door.ports[name], ssl=trust)
    try:
        writer.write(fuzz.request(seed))
        with contextlib.suppress(OSError, TimeoutError):
            await writer.drain()
            async with asyncio.timeout(ANSWER_SECONDS):
                while await reader.read(65_536):
                    pass
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def storm(door: FrontDoor, seeds: range) -> None:
    """Send all of them, some at once, while an ordinary client calls."""
    left = iter(seeds)
    over = asyncio.Event()

    async def hostile() -> None:
        for seed in left:
            await send(door, seed)

    async def ordinary() -> None:
        while not over.is_set():
            status, text = await door.get("ingress", "/v1/ai/health")
            assert status == 200, text
            await asyncio.sleep(0.1)

    beside = asyncio.create_task(ordinary())
    try:
        await asyncio.gather(*(hostile() for _ in range(AT_ONCE)))
    finally:
        over.set()
        await beside


async def unharmed(door: FrontDoor, count: int) -> None:
    """Storm it, then compare processes, memory, descriptors and answers with before."""
    await storm(door, range(AT_ONCE * 4))  # what grows once grows now
    process = door.process()
    before, descriptors = process.memory_info().rss, process.num_fds()
    already = len(door.log())
    await storm(door, range(1_000, 1_000 + count))
    assert process.is_running() and door.process().pid == process.pid
    for name, replica in door.replicas.items():
        assert replica.returncode is None, name
    assert process.memory_info().rss - before < LARGEST_GROWTH

    def closed() -> bool:
        return door.process().num_fds() <= descriptors + 2

    await eventually(closed, 15)
    ours = [
        line for line in door.log()[already:] if line["event"] == "call" and _ours(line["code"])
    ]
    assert not ours, ours[:3]
    ejected = await door.stats("cluster.*ejections_active")
    assert not any(ejected.values()), ejected


def _ours(code: int) -> bool:
    """Tell whether a status says that we failed; 501 and 505 say that the caller did."""
    return code >= 500 and code not in (501, 505)


async def test_hundreds_of_malformed_requests(door: FrontDoor) -> None:
    await unharmed(door, SHORT)


@pytest.mark.drill
@pytest.mark.timeout(1_800)
async def test_ten_thousand_malformed_requests(door: FrontDoor) -> None:
    await unharmed(door, LONG)
