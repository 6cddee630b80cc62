"""Messages as they come from and go to the bus."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from services.catalog.subjects import HEADER_MESSAGE_ID, HEADER_TIME, HEADER_TYPE
from services.kit.observe.trace_context import trace_id_of


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish; its id makes it arrive once in effect."""

    subject: str
    data: bytes
    message_id: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Message:
    """A message of a stream."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    sequence: int
    deliveries: int = 1
    pending: int = 0
    """Messages that the consumer had still to send after this one."""

    @property
    def message_id(self) -> str:
        """Id that the publisher gave; '' when none."""
        return self.headers.get(HEADER_MESSAGE_ID, "")

    @property
    def type(self) -> str:
        """Event type; '' when none."""
        return self.headers.get(HEADER_TYPE, "")

    @property
    def market_time(self) -> int:
        """Market time in milliseconds; ValueError when the header is missing or unreadable."""
        text = self.headers.get(HEADER_TIME, "")
        if not text.isdigit():
            raise ValueError(f"header {HEADER_TIME} is {text!r}, not milliseconds")
        return int(text)

    @property
    def trace_id(self) -> str:
        """Trace id; '' when none."""
        return trace_id_of(self.headers)


class Settlement(Exception):
    """A delivery was settled twice."""


@dataclass(slots=True)
class Delivery(Message):
    """A message that a shared consumer handed to this worker, to be settled once."""

    settle: Callable[[bytes], Awaitable[None]] | None = None
    bury: Callable[[Delivery, str], Awaitable[None]] | None = None
    settled: bool = False
    reply: bytes = b""
    """Subject on which the server waits for the settlement."""

    async def _answer(self, answer: bytes) -> None:
        if self.settled:
            raise Settlement(f"{self.subject} {self.sequence} was settled before")
        self.settled = True
        if self.settle is not None:
            await self.settle(answer)

    async def ack(self) -> None:
        """Done; it does not come again."""
        await self._answer(b"+ACK")

    async def working(self) -> None:
        """Still at it: the time within which it must be settled begins anew."""
        if not self.settled and self.settle is not None:
            await self.settle(b"+WPI")

    async def nak(self, delay_seconds: float) -> None:
        """Not now; it comes again after the delay, perhaps to another worker."""
        await self._answer(b"-NAK " + json.dumps({"delay": int(delay_seconds * 1e9)}).encode())

    async def reject(self, reason: str) -> None:
        """Never; it goes to the dead-letter stream with the reason."""
        if self.bury is not None:
            await self.bury(self, reason)
        await self._answer(b"+TERM " + reason.encode()[:200])
