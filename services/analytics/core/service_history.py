"""How services were in a span, out of the changes that were published."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

HEALTHY = "HEALTHY"


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A published change of one service's health, at a wall time in milliseconds."""

    service: str
    time: int
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class ServiceHistory:
    """One service in a span."""

    service: str
    changes: int
    unhealthy_ms: int
    status: str
    last_reason: str


def histories(changes: Iterable[HealthChange], until: int) -> list[ServiceHistory]:
    """Add up the changes of a span, by service; the last status holds until the end.

    What was before the first change of a span is not known and not counted.
    """
    found: dict[str, ServiceHistory] = {}
    since: dict[str, int] = {}
    for change in sorted(changes, key=lambda c: (c.time, c.service)):
        known = found.get(change.service, ServiceHistory(change.service, 0, 0, "", ""))
        found[change.service] = replace(
            known,
            changes=known.changes + 1,
            unhealthy_ms=known.unhealthy_ms + _ill(known, since, change.time),
            status=change.status,
            last_reason=known.last_reason if change.status == HEALTHY else change.reason,
        )
        since[change.service] = change.time
    return [
        replace(h, unhealthy_ms=h.unhealthy_ms + _ill(h, since, until))
        for _, h in sorted(found.items())
    ]


def _ill(known: ServiceHistory, since: dict[str, int], until: int) -> int:
    if known.status in ("", HEALTHY):
        return 0
    return max(until - since[known.service], 0)
