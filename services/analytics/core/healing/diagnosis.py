"""Which replicas a restart can mend. Pure; times are wall seconds handed in.

A restart mends what hangs, what has gone silent while its supervisor sees it live, and what is
critical for long although everything it depends on is well. While PostgreSQL or NATS are away it
mends nothing: then they are the cause.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from services.analytics.core.healing.rules import Sick, Who
from services.analytics.core.health import Heartbeat, ReplicaHealth, Status, SystemView
from services.analytics.core.work import LEADER, Trouble

NEEDED = ("postgres", "nats")
"""While one of these is away nothing is restarted."""
SILENT_SECONDS = 20.0
"""Silence beyond the time-out: its supervisor, who sees it hang, comes first."""
CRITICAL_SECONDS = 60.0
_MENDED_BY_RESTART = ("ConsumerStuck", "OutboxStuck")


def diagnose(
    view: SystemView,
    troubles: Iterable[Trouble],
    heartbeats: Sequence[Heartbeat],
    since: Mapping[Who, float],
    *,
    now: float,
    heartbeat_timeout: float,
    expected: Collection[str],
) -> tuple[Sick, ...]:
    """Return the sick replicas. `since`: when each replica became critical, without a break.

    Only `expected` services are healed.
    """
    if any(p.status is Status.DOWN for p in view.parts if p.name in NEEDED):
        return ()
    reasons: dict[Who, str] = {}
    for service in view.services:
        for replica in service.replicas:
            who = (service.name, replica.instance)
            reason = _reason(replica, since.get(who), view, now, heartbeat_timeout)
            if reason and replica.instance:
                reasons[who] = reason
    for trouble in troubles:
        if trouble.kind in _MENDED_BY_RESTART:
            for who in _at_fault(trouble, view):
                reasons.setdefault(who, trouble.reason)
    leaders = {(b.service, b.instance) for b in heartbeats if b.progress.get(LEADER)}
    return tuple(
        _sick(who, reason, view, who in leaders)
        for who, reason in sorted(reasons.items())
        if who[0] in expected
    )


def _reason(
    replica: ReplicaHealth,
    critical_since: float | None,
    view: SystemView,
    now: float,
    heartbeat_timeout: float,
) -> str:
    if replica.status is Status.DOWN:
        late = replica.silent_for > heartbeat_timeout + SILENT_SECONDS
        return replica.reason if late else ""
    if replica.status is not Status.CRITICAL or critical_since is None:
        return ""
    if any(part.status is not Status.HEALTHY for part in view.parts):
        return ""
    lasted = now - critical_since
    return f"critical for {lasted:.0f} s: {replica.reason}" if lasted > CRITICAL_SECONDS else ""


def _at_fault(trouble: Trouble, view: SystemView) -> list[Who]:
    if trouble.instance:
        return [(trouble.service, trouble.instance)]
    found = [s for s in view.services if s.name == trouble.service]
    return [(s.name, r.instance) for s in found for r in s.replicas if r.instance]


def _sick(who: Who, reason: str, view: SystemView, leader: bool) -> Sick:
    others = any(
        replica.status is Status.HEALTHY and replica.instance != who[1]
        for service in view.services
        if service.name == who[0]
        for replica in service.replicas
    )
    return Sick(*who, reason, leads=leader and others, others_well=others)


def critical_since(before: Mapping[Who, float], view: SystemView, now: float) -> dict[Who, float]:
    """Return since when each replica is critical without a break."""
    return {
        (service.name, replica.instance): before.get((service.name, replica.instance), now)
        for service in view.services
        for replica in service.replicas
        if replica.status is Status.CRITICAL
    }
