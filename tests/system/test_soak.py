"""The long form of the kill proof: processes die at random moments for many minutes."""

from __future__ import annotations

import asyncio
import os
import random
import time

import pytest

from services.kit.postgres.db import TRANSIENT
from tests.support import books
from tests.support.eventually import eventually
from tests.support.folders import server_folder
from tests.support.stack import Stack
from tests.system.test_kills import VICTIMS, assert_no_order_twice, every_position_has_a_stop

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
SEED = int(os.environ.get("SOAK_SEED", "1"))


async def trades_after_recovery(stack: Stack) -> int:
    """Return the closed trades once PostgreSQL answers again after the last kill."""

    async def asked() -> tuple[int] | None:
        try:
            return (await stack.closed_trades(),)
        except TRANSIENT:
            return None

    answer: tuple[int] = await eventually(asked, deadline=60)
    return answer[0]


@pytest.mark.drill
@pytest.mark.timeout(SECONDS + 600)
async def test_random_kills_for_a_long_time_lose_and_double_nothing() -> None:
    """Incidents 7, 12, 26, 27, 77, 82, 85: one SIGKILL after another, at random moments.

    The moments and victims follow SOAK_SEED; SOAK_SECONDS says how long.
    """
    dice = random.Random(SEED)  # noqa: S311 - a seeded test
    kills = 0
    with server_folder() as root, Stack(root).running() as stack:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            await asyncio.sleep(dice.uniform(2, 15))
            victim = dice.choice(VICTIMS)
            if victim in stack.pids():
                stack.kill(victim)
                kills += 1
        more = await trades_after_recovery(stack) + 10
        await stack.until_closed(more, 180)
        found = await books.read(stack)
        books.assert_equal(found)
        await assert_no_order_twice(stack)
        await eventually(lambda: every_position_has_a_stop(stack), deadline=15)
        print(f"{kills} kills, {len(found.venue)} fills, {more} trades")  # noqa: T201
