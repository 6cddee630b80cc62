"""The system's health as a number, as the fund's layers take it."""

from __future__ import annotations

from collections.abc import Callable

from services.analytics.core.health import Status, SystemView

_SCORES = {Status.HEALTHY: 100, Status.DEGRADED: 60}
_WORST = 20


class HealthScore:
    """100 while healthy, 60 degraded, 20 critical or down; 100 until it was healthy once.

    A system that starts is not sick, and what it decides must not depend on who came up first.
    """

    def __init__(self, view: Callable[[], SystemView]) -> None:
        self._view = view
        self._was_healthy = False

    def now(self) -> int:
        """Return the score."""
        overall = self._view().overall
        self._was_healthy = self._was_healthy or overall is Status.HEALTHY
        return _SCORES.get(overall, _WORST) if self._was_healthy else 100
