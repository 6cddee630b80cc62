"""Turns come in the order in which they were drawn, and none is stuck behind one that gave up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable

import pytest

from services.analytics.ledger.turns import Turn, Turns


@pytest.mark.parametrize("seed", range(20))
async def test_turns_come_one_at_a_time_in_their_order(seed: int) -> None:
    dice, turns = random.Random(seed), Turns()  # noqa: S311 - a fixed shuffle
    story: list[int] = []
    inside = 0

    async def take(turn: Turn, number: int) -> None:
        nonlocal inside
        try:
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            if dice.random() < 0.2:
                return  # gives up before it comes
            await turn.come()
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            story.append(number)
            inside -= 1
        finally:
            turn.leave()
            turn.leave()

    async with asyncio.timeout(5):
        await asyncio.gather(*(take(turns.draw(), number) for number in range(12)))
    assert story == sorted(story)


async def test_who_is_cancelled_while_waiting_lets_nobody_in_too_early() -> None:
    turns = Turns()
    first, second, third = turns.draw(), turns.draw(), turns.draw()
    await first.come()
    waiting = asyncio.ensure_future(_leave_after(second, second.come()))
    last = asyncio.ensure_future(third.come())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(0)
    assert not last.done()
    first.leave()
    async with asyncio.timeout(5):
        await last


async def _leave_after(turn: Turn, waiting: Awaitable[None]) -> None:
    try:
        await waiting
    finally:
        turn.leave()
