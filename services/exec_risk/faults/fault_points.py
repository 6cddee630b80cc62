"""Steps of the leader's protocol at which a drill ends or freezes the process.

Only for tests: settings refuse it for every venue but paper.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

Reached = Callable[[str], None]
"""Called with the name of a step that is reached."""

STEPS = (
    "before_commit",
    "after_commit",
    "before_place",
    "after_place",
    "before_cancel",
    "after_cancel",
    "before_find",
    "after_find",
    "before_leverage",
    "after_leverage",
    "before_snapshot",
    "after_snapshot",
    "before_idle",
    "after_idle",
    "before_load",
    "after_load",
)
"""Every step has the moment before it is begun and the one after its answer is here."""


def no_points(step: str) -> None:
    """In service nothing happens at any step."""


def parse(text: str) -> tuple[str, int, signal.Signals]:
    """Read `step:count` or `step:count:STOP`; ValueError says what is wrong."""
    step, _, rest = text.partition(":")
    count, _, how = rest.partition(":")
    if step not in STEPS or not count.isdigit() or int(count) < 1 or how not in ("", "STOP"):
        raise ValueError(f"{text!r} is not step:count or step:count:STOP of {', '.join(STEPS)}")
    return step, int(count), signal.SIGSTOP if how else signal.SIGKILL


class FaultPoint:
    """Sends this process a signal when a step is reached for the `count`-th time."""

    def __init__(self, step: str, count: int, number: signal.Signals) -> None:
        self._step = step
        self._left = count
        self._number = number

    def __call__(self, step: str) -> None:
        """Take note of a step."""
        if step == self._step:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), self._number)


def made(text: str) -> Reached:
    """Return what is to be called at the steps."""
    return FaultPoint(*parse(text)) if text else no_points
