"""When the paper venue's market may move on: everything of its point is done."""

from __future__ import annotations

from services.exec_risk.core.exchange_events import PointReached
from services.kit.clock import Clock
from services.kit.observe.logs import get_logger

log = get_logger(__name__)


class Pace:
    """The last point, and who has to be waited for before it is answered."""

    def __init__(self, clock: Clock, *, observed_wait: float) -> None:
        self._clock = clock
        self._observed_wait = observed_wait
        self._answered = -1
        self._observed = 0
        self._observer_heard = True
        self._decided_at = 0.0
        self.point: PointReached | None = None
        self.lockstep = False
        """True while the market stands until its point is answered."""

    def reached(self, point: PointReached) -> None:
        """Take the next point."""
        self.point, self.lockstep = point, point.lockstep

    def observed(self, time: int) -> None:
        """Learn that analytics has taken in the round of a market time."""
        self._observed = max(self._observed, time)
        self._observer_heard = True

    def decided(self) -> None:
        """Learn that a round was decided just now."""
        self._decided_at = self._clock.monotonic()

    def open_point(self) -> PointReached | None:
        """Return the point that is to be answered, or None."""
        point = self.point
        return None if point is None or point.number == self._answered else point

    def answered(self, point: PointReached) -> None:
        """Remember that a point was answered."""
        self._answered = point.number

    def round_is_observed(self, time: int) -> bool:
        """Tell whether analytics has followed, or is not waited for any longer."""
        if self._observed >= time or not self._observer_heard or not self.lockstep:
            return True
        if self._clock.monotonic() - self._decided_at < self._observed_wait:
            return False
        log.warning("round_not_observed", time=time)
        self._observer_heard = False
        return True
