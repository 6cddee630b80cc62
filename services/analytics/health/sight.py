"""What this replica sees of the system: heartbeats, answers to its own questions, work done."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from services.analytics.consumers import HeartbeatBook, Sink
from services.analytics.core.health import (
    Expected,
    Heartbeat,
    Limits,
    Link,
    Part,
    Status,
    SystemView,
    assess,
)
from services.analytics.core.work import Consumer, Tracks, Trouble, WorkLimits, follow
from services.analytics.health.consumer_facts import consumers, filling, jetstream
from services.analytics.health.part_probes import MISSES, GatewayProbe, exchange
from services.analytics.health.peers import Peers
from services.kit.bus.bus import Bus
from services.kit.process import Process

_BACKING = ("postgres", "nats")


class Sight:
    """Eyes of one replica."""

    def __init__(
        self,
        *,
        process: Process,
        expected: Sequence[Expected],
        limits: Limits,
        work: WorkLimits,
        peers: Peers,
        gateway: GatewayProbe,
    ) -> None:
        self._process = process
        self._expected = tuple(expected)
        self._limits = limits
        self._work = work
        self._peers = peers
        self._gateway = gateway
        self._bus: Bus | None = None
        self._link = Link(up=False)
        self._jetstream = Part("jetstream", True)
        self._missed = 0
        self._consumers: list[Consumer] = []
        self._tracks: Tracks = {}
        self.book = HeartbeatBook(process.clock)
        self.sinks: list[Sink] = []
        self.troubles: tuple[Trouble, ...] = ()
        """Work that does not get done, as of the last look."""
        self.shares: Mapping[str, float] = {}
        """Filled share of each stream by name."""

    def watch_bus(self, bus: Bus) -> None:
        """Heartbeats come from this connection from now on."""
        self._bus = bus
        self._link = Link(up=bus.connected)

    def look(self) -> None:
        """Take note of what needs no question."""
        up = self._bus is not None and self._bus.connected and self._missed < MISSES
        if up and not self._link.up and self.book.live:
            self._link = Link(up=True, up_since=self._now().timestamp())
        elif up != self._link.up:
            self._link = Link(up=up, up_since=self._link.up_since)

    async def ask(self) -> None:
        """Ask everybody once; who does not answer shows in the view."""
        await asyncio.gather(self._peers.ask(), self._gateway.ask(), self._ask_bus())
        # while the link is down nothing is heard of work: that is no standstill
        if self._link.up:
            self._tracks, self.troubles = follow(
                self._tracks,
                self._consumers,
                [beat for beat in self.heartbeats() if not beat.leaving],
                now=self._now().timestamp(),
                limits=self._work,
            )

    def view(self) -> SystemView:
        """Assess the system now; silence shows without waiting for the next question."""
        return assess(
            self._expected,
            self.heartbeats(),
            self._parts(),
            now=self._now().timestamp(),
            link=self._link,
            limits=self._limits,
            silent=self._peers.silent,
            stalled={(t.service, t.instance): t.reason for t in self.troubles if t.service},
        )

    def heartbeats(self) -> list[Heartbeat]:
        """Return the last sign of life of each replica, this one's from itself."""
        process = self._process
        own = Heartbeat(
            service=process.names.name,
            instance=process.instance,
            status=Status[process.status.upper()],
            seen_at=self._now().timestamp(),
            reason="; ".join(process.reasons),
            uptime_seconds=process.uptime_seconds,
            progress=dict(process.progress),
        )
        others = []
        for beat in self.book.all():
            if (beat.service, beat.instance) != (own.service, own.instance):
                others.append(beat)
            else:
                own = replace(own, cpu_percent=beat.cpu_percent, memory_percent=beat.memory_percent)
        return [own, *others]

    def full(self) -> Mapping[str, float]:
        """Return the filled share of the streams that refuse soon."""
        return filling(dict(self.shares))

    def market_age(self, now: float) -> float:
        """Return the seconds since market time moved last; 0 when none was seen yet."""
        track = self._tracks.get("market")
        return 0.0 if track is None else max(0.0, now - track.moved_at)

    def forget(self, now: datetime) -> None:
        """Drop replicas that were not heard for long."""
        self.book.forget(before=now.timestamp() - self._limits.forget_replica_after)

    def _parts(self) -> list[Part]:
        components = self._process.components.snapshot()
        parts = [Part(c.name, c.ready, c.reason) for c in components if c.name in _BACKING]
        if self._bus is not None:
            answers = self._missed < MISSES
            parts.append(Part("jetstream", answers, "" if answers else self._jetstream.reason))
        now = self._now().timestamp()
        heard = exchange(self.heartbeats(), now, self._limits.heartbeat_timeout)
        return [*parts, *self._gateway.parts, *heard]

    async def _ask_bus(self) -> None:
        if self._bus is None:
            return
        self._jetstream, shares = await jetstream(self._bus)
        self._missed = 0 if self._jetstream.ready else self._missed + 1
        if self._jetstream.ready:
            self.shares = shares
            self._consumers = await consumers(self._bus)

    def _now(self) -> datetime:
        return self._process.clock.now()
