"""What is kept fresh: a failure is told where it belongs, until it is over, and stops nothing."""

from __future__ import annotations

import errno

from services.ctl.supervisor.tending import Tended, Tending
from tests.support.eventually import eventually

HERE, THERE = 1, 2
PAUSE = 0.001


class Disk:
    """Something that fails while there is no room."""

    def __init__(self) -> None:
        self.full = True
        self.looks = 0

    def look(self) -> None:
        self.looks += 1
        if self.full:
            raise OSError(errno.ENOSPC, "no room")


async def test_a_failure_is_told_until_it_is_over() -> None:
    disk = Disk()
    tending = Tending([Tended(HERE, "logs cannot be rotated", PAUSE, disk.look)])
    tending.begin()
    await eventually(lambda: tending.trouble(HERE))
    assert tending.trouble(HERE) == "logs cannot be rotated: [Errno 28] no room"
    assert tending.trouble(THERE) == ""
    disk.full = False
    await eventually(lambda: not tending.trouble(HERE))
    tending.end()


async def test_each_is_looked_at_though_another_fails() -> None:
    """And again after an end: a supervisor may start everything anew."""
    full, well = Disk(), Disk()
    well.full = False
    tended = [Tended(HERE, "this", PAUSE, full.look), Tended(THERE, "that", PAUSE, well.look)]
    tending = Tending(tended)
    for _ in range(2):
        before = well.looks
        tending.begin()
        await eventually(lambda before=before: well.looks > before + 2)  # type: ignore[misc]
        tending.end()
    assert full.looks > 2
