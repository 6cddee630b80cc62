"""Drain and maintenance of a whole service: its key in the bucket `modes`, followed."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import DecodeError
from quantum.ops.v1 import operators_pb2 as pb

from services.catalog import subjects
from services.kit.bus.bus import Bus, Message
from services.kit.observe.logs import get_logger

log = get_logger(__name__)


class FollowedMode:
    """The mode of one service, as it was told last; normal before the first word."""

    def __init__(self, service: str, changed: Callable[[], None]) -> None:
        """`service` by its key; `changed` is called after each word."""
        self._service = service
        self._changed = changed
        self.mode = pb.ServiceMode(service=service)

    async def start(self, bus: Bus) -> None:
        """Follow the key for ever; returns when what is stored was read."""
        key = subjects.service_mode(self._service)
        follower = await bus.follow(subjects.MODES.name, key, self._hear, start="last")
        await follower.caught_up.wait()

    def _hear(self, message: Message) -> None:
        if not message.data:
            told = pb.ServiceMode(service=self._service)  # the key was removed
        else:
            try:
                told = pb.ServiceMode.FromString(message.data)
            except DecodeError:
                # what cannot be read lets nothing new in
                log.error("mode_unreadable", service=self._service, at=message.sequence)
                reason = "the mode in the bucket cannot be read"
                told = pb.ServiceMode(service=self._service, maintenance=True, reason=reason)
        if told != self.mode:
            self.mode = told
            log.warning(
                "mode",
                drain=told.drain,
                maintenance=told.maintenance,
                reason=told.reason,
                by=told.by,
            )
            self._changed()
