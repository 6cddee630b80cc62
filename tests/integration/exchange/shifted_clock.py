"""The machine's clock, which a test can move: time that passes unseen, and a wall clock set."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta


class ShiftedClock:
    """Satisfies `kit.clock.Clock`."""

    def __init__(self) -> None:
        self.passed = 0.0
        """Seconds that went by while nobody looked (wall and monotonic alike)."""
        self.set_by = 0.0
        """Seconds by which the wall clock alone was set."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.passed + self.set_by)

    def monotonic(self) -> float:
        return time.monotonic() + self.passed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def wall_ms(self) -> int:
        return int(self.now().timestamp() * 1000)
