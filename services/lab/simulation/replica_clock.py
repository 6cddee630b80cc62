"""A replica's clock: virtual time as wall time, which may be wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.lab.simulation.network import Network
from services.lab.simulation.virtual_loop import Answer

EPOCH = datetime(2026, 1, 5, tzinfo=UTC)
"""Wall time at the start of a run."""


class ReplicaClock:
    """A machine's clock, which may be wrong; what it measures with is right."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.skew = 0.0

    def now(self) -> datetime:
        """Return the machine's wall time."""
        return EPOCH + timedelta(seconds=self._network.loop.time() + self.skew)

    def monotonic(self) -> float:
        """Return virtual seconds."""
        return self._network.loop.time()

    async def sleep(self, seconds: float) -> None:
        """Wait virtual seconds."""
        answer: Answer[None] = Answer(self._network.loop, seconds)
        await answer
