"""Whether work gets done: consumers that stand still, lags that grow, replicas left behind.

Heartbeats and open connections do not show it: a consumer may hang for hours in a process that
says it is well. Pure; times are wall seconds that the shell hands in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from services.analytics.core.health import Heartbeat, Status

HANDLING = "handling_seconds"
"""Progress number of a heartbeat: age of the oldest batch in hand."""
OUTBOX = "outbox_open"
"""Progress number of a heartbeat: rows that are stored and not published."""
MARKET_CLOCKS = {"ai-service": "last_candle_time", "exec-risk-service": "last_round_ms"}
"""By process: the progress number that moves with the market (milliseconds of market time)."""
LEADER = "leader"
"""Progress number: 1 while the replica is its account's leader; others have no rounds."""


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """Bounds, in seconds and messages."""

    stuck_seconds: float = 20.0
    """Messages wait and none is handled."""
    growing_seconds: float = 60.0
    growing_messages: int = 2_000
    behind_market_ms: float = 180_000.0
    """A replica is this much market time behind the foremost."""
    still_seconds: float = 300.0
    """Market time stands still."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """How far a durable consumer is."""

    stream: str
    name: str
    service: str
    """Process whose replicas share it."""
    waiting: int
    """Messages that were not delivered yet."""
    unsettled: int
    """Messages that were delivered and not acknowledged."""
    settled: int
    """Stream sequence up to which all is acknowledged."""

    @property
    def backlog(self) -> int:
        """Messages that are still to be handled."""
        return self.waiting + self.unsettled


@dataclass(frozen=True, slots=True)
class Track:
    """What is remembered of one number that must move."""

    value: float
    moved_at: float
    low: float = 0.0
    """Smallest backlog since it began to grow."""
    low_at: float = 0.0
    last: float = 0.0
    """Backlog at the last look."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Work that does not get done."""

    kind: str
    """Alert kind: ConsumerStuck, ConsumerLag, OutboxStuck or MarketStill."""
    service: str
    component: str
    reason: str
    instance: str = ""
    """The replica at fault; empty when it is not known which."""
    status: Status = Status.DEGRADED
    value: float = 0.0
    limit: float = 0.0


Tracks = Mapping[str, Track]


def follow(
    before: Tracks,
    consumers: Iterable[Consumer],
    heartbeats: Iterable[Heartbeat],
    *,
    now: float,
    limits: WorkLimits,
) -> tuple[dict[str, Track], tuple[Trouble, ...]]:
    """Return what is to be remembered for the next look, and the troubles that hold now."""
    tracks: dict[str, Track] = {}
    found: list[Trouble] = []
    beats = sorted(heartbeats, key=lambda b: (b.service, b.instance))
    for consumer in consumers:
        key = f"consumer {consumer.stream} {consumer.name}"
        tracks[key] = _of_consumer(before.get(key), consumer, now)
        found += _stands(tracks[key], consumer, now, limits)
    for beat in beats:
        found += _hangs(beat, limits)
        key = f"outbox {beat.service} {beat.instance}"
        tracks[key] = _moved(before.get(key), -beat.progress.get(OUTBOX, 0.0), now, rises=True)
        found += _unpublished(tracks[key], beat, now, limits)
    market = _market(beats)
    if market is not None:
        tracks["market"] = _moved(before.get("market"), market, now)
        found += _still(tracks["market"], now, limits)
    for beat, value in _clocks(beats):
        key = f"clock {beat.service} {beat.instance}"
        tracks[key] = _moved(before.get(key), value, now)
        found += _behind(tracks[key], beat, market or 0.0, now, limits)
    return tracks, tuple(found)


def _of_consumer(before: Track | None, seen: Consumer, now: float) -> Track:
    if before is None:
        return Track(float(seen.settled), now, seen.backlog, now, seen.backlog)
    moved = seen.settled != before.value or not seen.backlog
    track = replace(
        before,
        value=float(seen.settled),
        moved_at=now if moved else before.moved_at,
        last=seen.backlog,
    )
    if seen.backlog <= before.low or seen.backlog < before.last:
        return replace(track, low=seen.backlog, low_at=now)
    return track


def _stands(track: Track, consumer: Consumer, now: float, limits: WorkLimits) -> Iterable[Trouble]:
    stood = now - track.moved_at
    if consumer.backlog and stood >= limits.stuck_seconds:
        reason = f"{consumer.backlog} messages wait and none was handled for {stood:.0f} s"
        yield Trouble(
            "ConsumerStuck",
            consumer.service,
            consumer.name,
            f"{consumer.name}: {reason}",
            value=stood,
            limit=limits.stuck_seconds,
        )
    grown = track.last - track.low
    if grown >= limits.growing_messages and now - track.low_at >= limits.growing_seconds:
        reason = f"{grown:.0f} more messages wait than {now - track.low_at:.0f} s ago"
        yield Trouble(
            "ConsumerLag",
            consumer.service,
            consumer.name,
            f"{consumer.name}: {reason}",
            value=float(consumer.backlog),
            limit=float(limits.growing_messages),
        )


def _hangs(beat: Heartbeat, limits: WorkLimits) -> Iterable[Trouble]:
    handling = beat.progress.get(HANDLING, 0.0)
    if handling >= limits.stuck_seconds:
        reason = f"a message is being handled for {handling:.0f} s"
        yield Trouble(
            "ConsumerStuck",
            beat.service,
            beat.instance,
            reason,
            instance=beat.instance,
            value=handling,
            limit=limits.stuck_seconds,
        )


def _unpublished(
    track: Track, beat: Heartbeat, now: float, limits: WorkLimits
) -> Iterable[Trouble]:
    open_ = beat.progress.get(OUTBOX, 0.0)
    waited = now - track.moved_at
    if open_ and waited >= limits.stuck_seconds:
        reason = f"{open_:.0f} facts wait to be published for {waited:.0f} s"
        yield Trouble(
            "OutboxStuck",
            beat.service,
            beat.instance,
            reason,
            instance=beat.instance,
            value=open_,
            limit=limits.stuck_seconds,
        )


def _moved(before: Track | None, value: float, now: float, *, rises: bool = False) -> Track:
    """Return the track of a number; with `rises` only a greater one counts as movement."""
    if before is None:
        return Track(value, now)
    moves = value > before.value or (not rises and value != before.value) or (rises and not value)
    return Track(value, now if moves else before.moved_at)


def _clocks(beats: Iterable[Heartbeat]) -> list[tuple[Heartbeat, float]]:
    found = []
    for beat in beats:
        name = MARKET_CLOCKS.get(beat.service, "")
        if name in beat.progress and beat.progress.get(LEADER, 1.0):
            found.append((beat, beat.progress[name]))
    return found


def _market(beats: Iterable[Heartbeat]) -> float | None:
    return max((value for _, value in _clocks(beats) if value > 0), default=None)


def _still(track: Track, now: float, limits: WorkLimits) -> Iterable[Trouble]:
    stood = now - track.moved_at
    if stood >= limits.still_seconds:
        yield Trouble(
            "MarketStill",
            "",
            "market",
            f"no candle has closed for {stood:.0f} s",
            value=stood,
            limit=limits.still_seconds,
        )


def _behind(
    track: Track, beat: Heartbeat, market: float, now: float, limits: WorkLimits
) -> Iterable[Trouble]:
    stood, behind = now - track.moved_at, market - track.value
    if stood >= limits.stuck_seconds and behind >= limits.behind_market_ms:
        yield Trouble(
            "ConsumerStuck",
            beat.service,
            beat.instance,
            f"stands {behind / 60_000:.0f} minutes of market behind, for {stood:.0f} s",
            instance=beat.instance,
            value=behind / 1000,
            limit=limits.behind_market_ms / 1000,
        )
