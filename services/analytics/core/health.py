"""Health of every service and part, from heartbeats and passed-in times (seconds)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum


class Status(IntEnum):
    """How a part is, ordered from best to worst."""

    HEALTHY = 0
    DEGRADED = 1
    CRITICAL = 2
    DOWN = 3

    @property
    def text(self) -> str:
        """The status as `/health` writes it, lower case."""
        return self.name.lower()

    @property
    def fact(self) -> str:
        """The status as `health.status` events write it; a dead part is CRITICAL there."""
        return "CRITICAL" if self is Status.DOWN else self.name


@dataclass(frozen=True, slots=True)
class Part:
    """A backing part as this replica sees it."""

    name: str
    ready: bool
    reason: str = ""
    degraded: bool = False
    """It works, but with a fault, or nobody knows how it is."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The last sign of life of one replica."""

    service: str
    instance: str
    status: Status
    seen_at: float
    """Wall time at which it was heard, seconds."""
    reason: str = ""
    uptime_seconds: float = 0.0
    cpu_percent: float = 0.0
    memory_percent: float = 0.0
    progress: Mapping[str, float] = field(default_factory=dict)
    leaving: bool = False
    """The replica said that it ends in order."""
    parts: tuple[Part, ...] = ()
    """What the replica depends on, as it sees it."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A service that must run."""

    name: str
    health_key: str
    """Key in `service_health`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Times of the health rules, in seconds."""

    heartbeat_timeout: float = 15.0
    forget_replica_after: float = 60.0
    """A silent replica is forgotten then, when others of its service live or none must."""


@dataclass(frozen=True, slots=True)
class Link:
    """Whether heartbeats can arrive at all."""

    up: bool = True
    up_since: float | None = None
    """Time of the last reconnection; None when it was never lost."""


@dataclass(frozen=True, slots=True)
class ReplicaHealth:
    """Health of one replica or part."""

    name: str
    instance: str
    status: Status
    reason: str = ""
    silent_for: float = -1.0
    """Seconds since the last sign of life; -1 when there was none."""
    cpu_percent: float = 0.0
    memory_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class ServiceView:
    """Health of one service over its replicas."""

    name: str
    status: Status
    reason: str
    replicas: tuple[ReplicaHealth, ...]


@dataclass(frozen=True, slots=True)
class SystemView:
    """Health of the system at one moment."""

    services: tuple[ServiceView, ...]
    parts: tuple[ReplicaHealth, ...]

    @property
    def overall(self) -> Status:
        """The worst of all."""
        statuses = [s.status for s in self.services] + [p.status for p in self.parts]
        return max(statuses, default=Status.HEALTHY)

    @property
    def unhealthy(self) -> list[str]:
        """Names of services and parts that are not healthy."""
        named = [(s.name, s.status) for s in self.services]
        named += [(p.name, p.status) for p in self.parts]
        return [name for name, status in named if status is not Status.HEALTHY]

    def service(self, name: str) -> ServiceView:
        """Return the view of one service; KeyError when it is neither expected nor heard."""
        for view in self.services:
            if view.name == name:
                return view
        raise KeyError(name)


def assess(
    expected: Sequence[Expected],
    heartbeats: Iterable[Heartbeat],
    parts: Iterable[Part],
    *,
    now: float,
    link: Link,
    limits: Limits,
    silent: Mapping[str, str] | None = None,
    stalled: Mapping[tuple[str, str], str] | None = None,
) -> SystemView:
    """Return the health of every expected service, every other that was heard, and all parts.

    `silent` names services that do not answer calls, `stalled` replicas (service and instance;
    without an instance the service) whose work stands still, each with the reason: they are
    degraded at least, however well they speak of themselves.
    """
    stands = stalled or {}
    heard: dict[str, list[Heartbeat]] = {e.name: [] for e in expected}
    for beat in heartbeats:
        told = stands.get((beat.service, beat.instance))
        heard.setdefault(beat.service, []).append(beat if told is None else _worse(beat, told))
    troubled = {name: reason for (name, instance), reason in stands.items() if not instance}
    for name, reason in (silent or {}).items():
        troubled[name] = f"{reason}; {troubled[name]}" if name in troubled else reason
    required = {e.name for e in expected}
    views = (
        _service(name, beats, name in required, now=now, link=link, limits=limits)
        for name, beats in heard.items()
    )
    return SystemView(
        services=tuple(_troubled(v, troubled) for v in views if v is not None),
        parts=tuple(_part(p) for p in parts),
    )


def _worse(beat: Heartbeat, reason: str) -> Heartbeat:
    told = f"{reason}; {beat.reason}" if beat.reason else reason
    return replace(beat, status=max(beat.status, Status.DEGRADED), reason=told)


def _troubled(view: ServiceView, troubled: Mapping[str, str]) -> ServiceView:
    reason = troubled.get(view.name)
    if reason is None:
        return view
    told = f"{reason}; {view.reason}" if view.reason else reason
    return replace(view, status=max(view.status, Status.DEGRADED), reason=told)


def _part(part: Part) -> ReplicaHealth:
    status = Status.HEALTHY if part.ready else Status.DOWN
    if part.ready and part.degraded:
        status = Status.DEGRADED
    return ReplicaHealth(name=part.name, instance="", status=status, reason=part.reason)


def _service(
    name: str,
    beats: list[Heartbeat],
    required: bool,
    *,
    now: float,
    link: Link,
    limits: Limits,
) -> ServiceView | None:
    staying = [b for b in beats if not b.leaving]
    # who left in order is missed only when nobody stays
    replicas = [_replica(b, now=now, link=link, limits=limits) for b in staying or beats]
    live = [r for r in replicas if r.status is not Status.DOWN]
    if live or not required:
        replicas = [r for r in replicas if r.silent_for <= limits.forget_replica_after]
    if not replicas:
        return _never_heard(name, link) if required else None
    ordered = tuple(sorted(replicas, key=lambda r: r.instance))
    status, reason = _combine(ordered)
    return ServiceView(name, status, reason, ordered)


def _never_heard(name: str, link: Link) -> ServiceView:
    reason = "no heartbeat was ever heard"
    if not link.up:
        reason += "; nats is down, so none can arrive"
    missing = ReplicaHealth(name=name, instance="", status=Status.DOWN, reason=reason)
    return ServiceView(name, Status.DOWN, reason, (missing,))


def _replica(beat: Heartbeat, *, now: float, link: Link, limits: Limits) -> ReplicaHealth:
    silent = max(0.0, now - beat.seen_at)
    # While the link is down, and for one time-out after it returned, silence proves nothing.
    counted = silent if link.up_since is None else min(silent, max(0.0, now - link.up_since))
    status, reason = beat.status, beat.reason
    if not link.up and silent > limits.heartbeat_timeout:
        status = max(status, Status.CRITICAL)
        reason = f"no heartbeat for {silent:.0f} s; nats is down, so none can arrive"
    elif counted > limits.heartbeat_timeout:
        status = Status.DOWN
        reason = f"no heartbeat for {silent:.0f} s"
    elif beat.leaving:
        status, reason = Status.DEGRADED, "stopped in order and has not come back"
    return ReplicaHealth(
        name=beat.service,
        instance=beat.instance,
        status=status,
        reason=reason,
        silent_for=silent,
        cpu_percent=beat.cpu_percent,
        memory_percent=beat.memory_percent,
    )


def _combine(replicas: tuple[ReplicaHealth, ...]) -> tuple[Status, str]:
    """A service is as good as its best replica, and degraded when any is worse than that."""
    best = min(r.status for r in replicas)
    worse = [r for r in replicas if r.status is not Status.HEALTHY]
    if not worse:
        return Status.HEALTHY, ""
    reason = "; ".join(f"{r.instance}: {r.reason or r.status.text}" for r in worse)
    return max(best, Status.DEGRADED), reason
