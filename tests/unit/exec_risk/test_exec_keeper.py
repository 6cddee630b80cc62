"""What is kept together: a step that can wait goes with the next one, in order, never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.exec_risk.core.effects import Change, StoreCancel, StoreProgress
from services.exec_risk.core.protection.trailing import Progress
from services.exec_risk.seams import StoreUnavailable, Switches
from services.exec_risk.term.keeper import Keeper, can_wait
from services.kit.clock import SystemClock
from tests.support.eventually import eventually


class Commits:
    """A store that only notes what is committed; each commit takes until it is let go."""

    def __init__(self, *, failing: int = 0) -> None:
        self.made: list[list[Change]] = []
        self.failing = failing
        self.open = asyncio.Event()
        self.open.set()

    async def commit(self, changes: Sequence[Change]) -> Switches | None:
        """Note them."""
        await self.open.wait()
        if self.failing:
            self.failing -= 1
            raise StoreUnavailable("away")
        self.made.append(list(changes))
        return None


def seen(number: int) -> StoreProgress:
    """What protection has seen of the market."""
    return StoreProgress(Progress(f"p{number}", version=number))


def order(number: int) -> StoreCancel:
    """Something that is waited for."""
    return StoreCancel(f"c{number}")


class SleepyClock(SystemClock):
    """The machine's clock, with sleeps of the whole process that take no time."""

    slept = 0.0

    def monotonic(self) -> float:
        """Return seconds that go on in a sleep."""
        return super().monotonic() + self.slept


def keeper_of(store: Any) -> Keeper:
    return Keeper(store, SystemClock(), patience=60.0, deposed_after=60.0, on_kept=lambda _: None)


def impatient(store: Any, clock: SleepyClock) -> Keeper:
    return Keeper(store, clock, patience=0.3, deposed_after=5.0, on_kept=lambda _: None)


async def test_what_can_wait_is_written_with_the_step_that_cannot() -> None:
    """One commit for what a candle moved and for the decision that follows it."""
    store = Commits()
    keeper = keeper_of(store)
    running = asyncio.create_task(keeper.run())
    keeper.put([seen(1)], can_wait=True)
    await asyncio.sleep(0)
    keeper.put([seen(2)], can_wait=True)
    await asyncio.sleep(0)
    assert not store.made and not keeper.idle
    assert await keeper.put([order(3)]).settled is not None
    assert store.made == [[seen(1), seen(2), order(3)]]
    running.cancel()


async def test_what_can_wait_is_written_alone_when_nothing_follows_or_somebody_waits() -> None:
    store = Commits()
    keeper = keeper_of(store)
    running = asyncio.create_task(keeper.run())
    keeper.put([seen(1)], can_wait=True)
    await eventually(lambda: keeper.idle, 10, 0.001)
    assert store.made == [[seen(1)]]
    step = keeper.put([seen(2)], can_wait=True)
    keeper.hurry()
    assert not step.can_wait and await step.settled is not None
    assert store.made == [[seen(1)], [seen(2)]]
    running.cancel()


def test_no_fact_and_no_order_can_wait() -> None:
    assert can_wait([seen(1), seen(2)])
    assert not can_wait([seen(1), order(2)])


@settings(max_examples=40, deadline=None)
@given(waits=st.lists(st.booleans(), min_size=1, max_size=12), failing=st.integers(0, 1))
def test_everything_is_kept_once_and_in_order(waits: list[bool], failing: int) -> None:
    """Whatever can wait, and while a commit is under way or fails."""

    async def run() -> list[Change]:
        store = Commits(failing=failing)
        keeper = keeper_of(store)
        running = asyncio.create_task(keeper.run())
        store.open.clear()
        for number, wait in enumerate(waits):
            keeper.put([seen(number) if wait else order(number)], can_wait=wait)
            await asyncio.sleep(0)
        store.open.set()
        keeper.hurry()
        await eventually(lambda: keeper.idle, 10, 0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return [change for commit in store.made for change in commit]

    kept = asyncio.run(run())
    assert kept == [seen(n) if wait else order(n) for n, wait in enumerate(waits)]


_FOR_EVER = 1 << 30


async def test_who_slept_long_goes_on_without_a_store_only_once_its_fence_has_held() -> None:
    """A frozen leader woke while the store was away, and sent what its successor had
    sent and ended long ago, under the same ids."""
    store, clock = Commits(failing=_FOR_EVER), SleepyClock()
    keeper = impatient(store, clock)
    running = asyncio.create_task(keeper.run())
    before = keeper.put([order(1)])
    assert await before.settled is None and keeper.away, "the store is away, and nobody slept"
    clock.slept = 10.0
    at_once = keeper.put([order(2)])
    await asyncio.sleep(1.0)
    later = keeper.put([order(3)])
    assert keeper.away and not at_once.settled.done() and not later.settled.done()
    store.failing = 0
    assert await at_once.settled is not None and await later.settled is not None
    store.failing = _FOR_EVER
    assert await keeper.put([order(4)]).settled is None, "nobody slept since the fence held"
    running.cancel()


async def test_an_answer_to_what_was_asked_before_the_sleep_says_nothing() -> None:
    store, clock = Commits(failing=_FOR_EVER), SleepyClock()
    keeper = impatient(store, clock)
    running = asyncio.create_task(keeper.run())
    await asyncio.sleep(0)
    keeper.asked()
    clock.slept = 10.0
    await asyncio.sleep(0.5)
    keeper.answered()
    step = keeper.put([order(1)])
    await asyncio.sleep(1.0)
    assert keeper.away and not step.settled.done()
    keeper.asked()
    keeper.answered()
    await asyncio.sleep(0.5)
    assert await step.settled is None
    running.cancel()
