"""The one place where tests wait for something to become true."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any


async def eventually(
    check: Callable[[], Any], deadline: float = 10.0, interval: float = 0.05
) -> Any:
    """Return the first true answer of `check`; fail with the last answer after `deadline` seconds.

    An AssertionError counts as "not yet" and is what fails at the end.
    """
    end = time.monotonic() + deadline
    while True:
        failure: AssertionError | None = None
        answer: Any = None
        try:
            told = check()
            answer = await told if inspect.isawaitable(told) else told
        except AssertionError as error:
            failure = error
        if answer:
            return answer
        if time.monotonic() > end:
            raise failure or AssertionError(f"not true within {deadline} s; last answer {answer!r}")
        await asyncio.sleep(interval)
