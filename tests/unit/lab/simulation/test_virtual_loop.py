"""The loop with virtual time: order, parking, the n-th callback."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from services.lab.simulation.network import Network
from services.lab.simulation.virtual_loop import OWNER, Spinning, Stopped, VirtualLoop, new_loop


def owned(loop: VirtualLoop, owner: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    context = contextvars.Context()
    context.run(OWNER.set, owner)
    return loop.create_task(work, context=context)


def test_time_jumps_and_timers_keep_their_order() -> None:
    loop, seen = new_loop(), list[tuple[str, float]]()

    async def note(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, loop.time()))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for name, seconds in (("c", 7200.0), ("a", 0.5), ("b", 0.5)):
                group.create_task(note(name, seconds))

    loop.run_until_complete(main())
    assert seen == [("a", 0.5), ("b", 0.5), ("c", 7200.0)]


def test_a_time_out_works_in_virtual_time() -> None:
    loop = new_loop()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()

    loop.run_until_complete(main())
    assert loop.time() == 30


def test_who_is_parked_stands_still_and_then_does_all_that_was_due() -> None:
    loop, beats = new_loop(), list[float]()

    async def beat() -> None:
        for _ in range(4):
            await asyncio.sleep(1.0)
            beats.append(loop.time())

    async def main() -> None:
        task = owned(loop, "a0", beat())
        await asyncio.sleep(1.5)
        loop.park("a0")
        await asyncio.sleep(10)
        assert beats == [1.0]
        loop.unpark("a0")
        await task

    loop.run_until_complete(main())
    # the timer that was due at 2 fires when it may run again; the next ones follow from there
    assert beats == [1.0, 11.5, 12.5, 13.5]


def test_an_action_follows_the_nth_callback_of_its_owner_alone() -> None:
    loop, steps = new_loop(), list[int]()

    async def step() -> None:
        for number in range(10):
            steps.append(number)
            await asyncio.sleep(0)

    async def main() -> None:
        loop.arm("a0", 3, lambda: loop.park("a0"))
        owned(loop, "b0", asyncio.sleep(0.1))
        owned(loop, "a0", step())
        await asyncio.sleep(5)

    loop.run_until_complete(main())
    assert steps == [0, 1, 2]


def test_a_task_that_never_waits_is_noticed() -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Spinning):
        new_loop().run_until_complete(spin())


def test_waiting_for_nothing_is_noticed() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stopped):
        new_loop().run_until_complete(wait())


def test_who_gives_up_waiting_is_not_woken_again() -> None:
    loop, woken = new_loop(), list[float]()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await loop.pause(10)
        woken.append(loop.time())
        await loop.pause(20)
        woken.append(loop.time())

    loop.run_until_complete(main())
    assert woken == [5, 25]


def test_an_error_is_an_answer_and_nothing_that_was_answered_is_left_as_garbage() -> None:
    """Thousands of runs in one process search for garbage once a run."""
    loop = new_loop()
    network = Network(loop, random.Random(1))  # noqa: S311 - seeded on purpose

    def refuse() -> None:
        raise ConnectionRefusedError("away")

    async def main() -> None:
        for number in range(300):
            await loop.pause(1.0)
            assert await network.ask(lambda n=number: n) == number  # type: ignore[misc]
            with pytest.raises(ConnectionRefusedError, match="away"):
                await network.ask(refuse)

    gc.collect()
    gc.disable()
    try:
        loop.run_until_complete(main())
        assert gc.collect() < 300
    finally:
        gc.enable()
