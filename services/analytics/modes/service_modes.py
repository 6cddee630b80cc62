"""Drain and maintenance of whole services: keys of the bucket `modes`, written here alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from quantum.ops.v1 import operators_pb2 as ops

from services.analytics.core.alerts import Alert, plain
from services.catalog import subjects
from services.catalog.processes import SERVICES
from services.kit.bus.bus import Bus, BusUnavailable, Message
from services.kit.clock import Clock
from services.kit.errors import Unavailable
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

ANNOUNCED = "PlannedMaintenance"
_ALL = "$KV.modes.>"
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_SERVICES = tuple(service.key for service in SERVICES)


@dataclass(frozen=True, slots=True)
class Switch:
    """What shall change; None leaves it as it is."""

    services: tuple[str, ...]
    """Keys of services; all when empty."""
    drain: bool | None
    maintenance: bool | None
    reason: str
    announcement: str
    request_id: str
    by: str


class ServiceModes:
    """The modes as every process is told them."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is known before `start`."""
        self._clock = clock
        self._bus: Bus | None = None
        self._held: dict[str, ops.ServiceMode] = {}

    async def start(self, bus: Bus) -> None:
        """Follow all keys for ever; returns when what is stored was read."""
        follower = await bus.follow(subjects.MODES.name, _ALL, self._hear, start="last")
        await follower.caught_up.wait()
        self._bus = bus

    def alerts(self) -> list[Alert]:
        """Return what users were to be told, for as long as any service is in maintenance."""
        told = [m for m in self._held.values() if m.announcement and (m.maintenance or m.drain)]
        if not told:
            return []
        first = min(told, key=lambda mode: mode.time.ToMilliseconds())
        since = first.time.ToMilliseconds() / 1000
        return [plain(ANNOUNCED, "system", first.announcement, since)]

    async def set(self, switch: Switch) -> Sequence[ops.ServiceMode]:
        """Write what changes; Unavailable when the bus does not take it."""
        if self._bus is None:
            raise Unavailable("nats is not connected yet", metadata={"nats": "starting"})
        try:
            chosen = switch.services or _SERVICES
            return [await self._set(self._bus, service, switch) for service in chosen]
        except (BusUnavailable, TimeoutError) as error:
            raise Unavailable("nats does not answer", metadata={"nats": str(error)}) from error

    async def _set(self, bus: Bus, service: str, switch: Switch) -> ops.ServiceMode:
        key = subjects.service_mode(service)
        last = await bus.last(subjects.MODES.name, key)
        held = _read(last, service)
        told = ops.ServiceMode()
        told.CopyFrom(held)
        told.drain = held.drain if switch.drain is None else switch.drain
        told.maintenance = held.maintenance if switch.maintenance is None else switch.maintenance
        told.reason, told.by = switch.reason, switch.by
        told.time.FromDatetime(self._clock.now())
        if switch.announcement:
            told.announcement = switch.announcement
        if not (told.drain or told.maintenance):
            told.announcement = ""
        await bus.publish(
            key,
            told.SerializeToString(),
            message_id=f"mode-{service}-{switch.request_id}",
            headers={_EXPECTED: str(last.sequence if last else 0)},
        )
        return _read(await bus.last(subjects.MODES.name, key), service)

    def _hear(self, message: Message) -> None:
        service = message.subject.rpartition(".")[2]
        self._held[service] = _read(message, service)


def _read(message: Message | None, service: str) -> ops.ServiceMode:
    if message is not None and message.data:
        try:
            return ops.ServiceMode.FromString(message.data)
        except DecodeError:
            log.error("mode_unreadable", service=service, at=message.sequence)
    return ops.ServiceMode(service=service)
