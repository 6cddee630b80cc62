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


def keeper_of(store: Any) -> Keeper:
    return Keeper(store, SystemClock(), patience=60.0, on_kept=lambda _: None)


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
