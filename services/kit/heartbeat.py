"""Heartbeats: each replica tells every few seconds how it is, and at once when that changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
from google.protobuf.timestamp_pb2 import Timestamp
from quantum.ops.v1 import operations_service_pb2 as pb

from services.catalog import subjects
from services.catalog.events import SERVICE_HEARTBEAT
from services.kit.bus.bus import Bus, BusUnavailable
from services.kit.observe.logs import get_logger

if TYPE_CHECKING:
    from services.kit.process import Process

log = get_logger(__name__)

_MIB = 1024 * 1024
_HANGS_SECONDS = 15.0
"""A handler that takes longer counts as degraded."""
_FAREWELL_SECONDS = 1.0
_LOOK_SECONDS = 0.25
"""How soon another status is told: what was said at a start stood for a whole interval."""


class Heartbeats:
    """Publishes `service.heartbeat` of one process."""

    def __init__(self, process: Process, bus: Bus) -> None:
        self._process = process
        self._bus = bus
        self._self = psutil.Process()
        self._self.cpu_percent()

    async def run(self) -> None:
        """Publish one at once, then at the interval and whenever the status changes, for ever."""
        while True:
            beat = self._beat()
            await self._publish(beat)
            await self._until_due(beat.status)

    async def _until_due(self, told: str) -> None:
        process = self._process
        due = process.clock.monotonic() + process.settings.heartbeat_interval_seconds
        while process.status.upper() == told:
            left = due - process.clock.monotonic()
            if left <= 0:
                return
            await process.clock.sleep(min(_LOOK_SECONDS, left))

    async def farewell(self) -> None:
        """Tell that this replica ends in order, so that nobody waits for it."""
        if self._bus.connected:
            beat = self._beat()
            beat.leaving = True
            await self._publish(beat)

    async def _publish(self, beat: pb.ServiceHeartbeat) -> None:
        process = self._process
        now = process.clock.now()
        try:
            await self._bus.publish(
                subjects.heartbeat(process.names.name),
                beat.SerializeToString(),
                message_id=f"beat-{process.instance}-{now.timestamp()}",
                headers={
                    subjects.HEADER_TYPE: SERVICE_HEARTBEAT,
                    subjects.HEADER_SOURCE: process.names.name,
                    subjects.HEADER_TIME: str(int(now.timestamp() * 1000)),
                },
                deadline=min(_FAREWELL_SECONDS, process.settings.heartbeat_interval_seconds)
                if beat.leaving
                else process.settings.heartbeat_interval_seconds,
            )
        except BusUnavailable as error:
            log.warning("heartbeat_not_sent", error=str(error))

    def _look_at_work(self) -> None:
        """Tell how old what is being handled is: a process may live and its consumer hang."""
        handling = self._bus.handling_seconds
        self._process.progress["handling_seconds"] = handling
        if handling > _HANGS_SECONDS:
            text = f"a message is being handled for {handling:.0f} s"
            self._process.degraded["consumer"] = text
        else:
            self._process.degraded.pop("consumer", None)

    def _beat(self) -> pb.ServiceHeartbeat:
        process = self._process
        self._look_at_work()
        time = Timestamp()
        time.FromDatetime(process.clock.now())
        memory = self._self.memory_info().rss
        return pb.ServiceHeartbeat(
            service_name=process.names.name,
            instance=process.instance,
            status=process.status.upper(),
            time=time,
            uptime_seconds=process.uptime_seconds,
            cpu_percent=self._self.cpu_percent(),
            memory_percent=100 * memory / psutil.virtual_memory().total,
            memory_used_mb=memory / _MIB,
            reason="; ".join(process.reasons),
            progress=process.progress,
            components=[
                pb.Component(name=c.name, ready=c.ready, reason=c.reason)
                for c in process.components.snapshot()
            ],
        )
