"""How long the event loop of a process keeps others waiting, health checks among them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram

from services.kit.clock import Clock
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

LOOK_SECONDS = 0.1
LONG_SECONDS = 0.4
"""A delay that is told in the log: the gateway waits half a second for an answer about health."""
_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


class LoopDelay:
    """Measures by how much a short sleep takes longer: what else came was kept waiting too."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._clock = clock
        self._seconds = Histogram(
            "process_event_loop_delay_seconds",
            "By how much a short sleep took longer: the event loop was busy, or had no core.",
            buckets=_BUCKETS,
            registry=registry,
        )

    async def run(self) -> None:
        """Measure for ever."""
        while True:
            began = self._clock.monotonic()
            await self._clock.sleep(LOOK_SECONDS)
            delay = max(0.0, self._clock.monotonic() - began - LOOK_SECONDS)
            self._seconds.observe(delay)
            if delay >= LONG_SECONDS:
                log.warning("event_loop_delayed", seconds=round(delay, 3))
