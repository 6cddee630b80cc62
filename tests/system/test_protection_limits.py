"""How long a position may be without a live protective order: 2 s, 2.5 s more, 8 s more.

The limits are the design's, by wall time; what is measured here is compared with just them.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.support.drill_desk import BUY, DrillDesk, drill_desk

BTC = "BTCUSDT"
GRACE, TAKE_OVER, RESTART = 2.0, 2.5, 8.0
LOOK = 0.02
SEEN = 0.5
"""What looking on from another process may add: its own polls and requests on a busy machine."""


async def naked_for(desk: DrillDesk, deadline: float) -> tuple[float, str]:
    """Return how long the venue held a position without a stop, and what ended that.

    Counts from the position's first sight to a resting stop (`stop`) or to flat (`flat`).
    """
    began = 0.0
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        held, stops = await asyncio.gather(desk.held(), desk.stops())
        now = time.monotonic()
        if not began and BTC in held:
            began = now
        if began and BTC in stops:
            return now - began, "stop"
        if began and BTC not in held:
            return now - began, "flat"
        await asyncio.sleep(LOOK)
    raise AssertionError(f"naked to the end: began {began}, held {await desk.held()}")


async def entry_is_taken(desk: DrillDesk) -> None:
    """Return as soon as the venue has taken an entry of ours."""
    while not [i for i in await desk.taken(BTC) if i.startswith("qte")]:
        await asyncio.sleep(LOOK)


async def test_without_a_stop_for_two_seconds_it_is_closed(tmp_path: Path) -> None:
    """Incident 4: every stop is lost on its way: closed at market when the grace is over."""
    async with drill_desk(tmp_path, speed=8) as desk:
        desk.start()
        await desk.ready()
        await desk.fault("request_drop", client_id="qts", times=0)
        desk.script.says = {BTC: BUY}
        seconds, ended = await naked_for(desk, 30)
        assert ended == "flat" and seconds <= GRACE + SEEN


@pytest.mark.parametrize("standby", [True, False])
async def test_the_leader_dies_before_the_stop_is_placed(tmp_path: Path, standby: bool) -> None:
    """Incident 12: SIGKILL between entry and stop, with a standby and without."""
    async with drill_desk(tmp_path, speed=1) as desk:
        desk.start()
        await desk.ready()
        if standby:
            other = desk.start("exec-b")
            while not other.logged('"serving"'):
                await asyncio.sleep(0.1)
        desk.script.says = {BTC: BUY}
        await entry_is_taken(desk)
        desk.replicas["exec-a"].end()
        desk.script.says = {}
        if not standby:
            desk.start()
        seconds, ended = await naked_for(desk, 30)
        more = TAKE_OVER if standby else RESTART
        assert seconds > SEEN, "it died too late to show anything"
        assert seconds <= GRACE + more + SEEN, f"{ended} after {seconds:.2f} s"
