"""Messages that the streams of the bus hold, as the operator reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError
from quantum.market.v1 import market_pb2

from services.catalog import subjects
from services.catalog.events import MESSAGES
from services.catalog.subjects import STREAMS, Stream
from services.ctl.supervisor.home import Refused
from services.kit.bus.bus import Bus
from services.kit.bus.message import Message

_ANSWER_SECONDS = 5.0
_LOOK_SECONDS = 0.05
_EVENTS = (subjects.EVENTS, subjects.LIVE)


@dataclass(frozen=True, slots=True)
class Stored:
    """One message of a stream."""

    stream: str
    sequence: int
    subject: str
    time: datetime
    """When the server stored it."""
    headers: dict[str, str]
    data: bytes

    @property
    def message(self) -> Message:
        """The message as services get it."""
        return Message(self.subject, self.data, self.headers, self.sequence)

    def content(self) -> dict[str, Any]:
        """Return what it says, in the contract's field names; Refused when it cannot be read."""
        kind: type[Any] | None = MESSAGES.get(self.message.type)
        if subjects.has_candles(self.subject):
            kind = market_pb2.CandleBatch
        if kind is None:
            raise Refused(f"{self.subject}: no contract is known for type {self.message.type!r}")
        try:
            told = kind.FromString(self.data)
        except DecodeError as error:
            raise Refused(
                f"{self.subject}: is not a {kind.DESCRIPTOR.full_name}: {error}"
            ) from error
        return MessageToDict(told, preserving_proto_field_name=True)

    def told(self) -> dict[str, Any]:
        """Return everything about it for JSON."""
        try:
            content: Any = self.content()
        except Refused as error:
            content = {"unreadable": str(error)}
        return {
            "stream": self.stream,
            "sequence": self.sequence,
            "subject": self.subject,
            "time": self.time.isoformat(),
            "id": self.message.message_id,
            "type": self.message.type,
            "trace_id": self.message.trace_id,
            "headers": self.headers,
            "data": content,
        }


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """How far a durable consumer of a stream is."""

    name: str
    waiting: int
    """Messages that it has not been handed yet."""
    unsettled: int
    """Messages that it was handed and has not settled."""
    redelivered: int


@dataclass(frozen=True, slots=True)
class StreamState:
    """What a stream holds."""

    name: str
    messages: int
    bytes: int
    first_sequence: int
    last_sequence: int
    last_time: datetime | None
    """When the last of these messages was stored; None when there is none."""
    subjects: dict[str, int]
    """Messages by subject."""
    consumers: tuple[ConsumerState, ...]


def streams_of(event_type: str) -> tuple[tuple[Stream, str], ...]:
    """Return the streams that hold a type, with its subjects; every stream for an empty one."""
    if not event_type:
        return tuple((stream, ">") for stream in STREAMS)
    if event_type not in MESSAGES and event_type not in ("market.candle", "market.price"):
        known = ", ".join(sorted(MESSAGES))
        raise Refused(f"no event type {event_type!r}; there are {known}")
    if event_type.startswith("market."):
        return ((subjects.MARKET, f"quantum.{event_type}.>"),)
    return (
        (subjects.EVENTS, f"quantum.events.{event_type}.>"),
        (subjects.LIVE, f"quantum.live.{event_type}.>"),
    )


class StoredMessages:
    """Reads, sends again and removes stored messages."""

    def __init__(self, bus: Bus) -> None:
        """Use a connection of the operator."""
        self._bus = bus
        self._context: JetStreamContext = bus.client.jetstream(timeout=_ANSWER_SECONDS)

    async def state(self, stream: Stream, subject: str = ">") -> StreamState:
        """Return what the stream holds under the subject."""
        info = await self._context.stream_info(stream.name, subjects_filter=subject)
        counts = dict(info.state.subjects or {})
        consumers = await self._context.consumers_info(stream.name)
        return StreamState(
            name=stream.name,
            messages=sum(counts.values()) if subject != ">" else info.state.messages,
            bytes=info.state.bytes,
            first_sequence=info.state.first_seq,
            last_sequence=info.state.last_seq,
            last_time=await self._last_time(stream, subject),
            subjects=counts,
            consumers=tuple(
                ConsumerState(
                    name=found.name,
                    waiting=found.num_pending or 0,
                    unsettled=found.num_ack_pending or 0,
                    redelivered=found.num_redelivered or 0,
                )
                for found in sorted(consumers, key=lambda found: found.name)
                if found.config.durable_name
            ),
        )

    async def _last_time(self, stream: Stream, subject: str) -> datetime | None:
        try:
            return (await self._context.get_last_msg(stream.name, subject)).time
        except NotFoundError:
            return None

    async def at(self, stream: Stream, sequence: int) -> Stored:
        """Return one message; Refused when it is not there."""
        try:
            raw = await self._context.get_msg(stream.name, sequence)
        except NotFoundError:
            raise Refused(f"{stream.name} holds no message {sequence}") from None
        return _stored(stream, raw)

    async def walk(self, stream: Stream, subject: str, start: int = 1) -> AsyncIterator[Stored]:
        """Yield the stored messages of a subject from a sequence on, the oldest first."""
        sequence = start
        while True:
            try:
                raw = await self._context.get_msg(
                    stream.name, seq=sequence, subject=subject, next=True
                )
            except NotFoundError:
                return
            found = _stored(stream, raw)
            yield found
            sequence = found.sequence + 1

    async def last(self, stream: Stream, subject: str, count: int) -> list[Stored]:
        """Return the last messages of a subject, the oldest first."""
        state = (await self._context.stream_info(stream.name)).state
        reach = max(count, 1)
        while True:
            start = max(state.first_seq, state.last_seq - reach + 1, 1)
            found = [one async for one in self.walk(stream, subject, start)]
            if len(found) >= count or start <= max(state.first_seq, 1):
                return found[-count:] if count else []
            reach *= 4

    async def named(
        self, message_id: str, looked: Callable[[int, int], None] | None = None
    ) -> Stored | None:
        """Return the event with this id, looking through all that the streams hold.

        `looked` is told how many messages of how many were looked at.
        """
        for stream in _EVENTS:
            total = (await self._context.stream_info(stream.name)).state.messages
            search = _Search(message_id, total, looked)
            reader = await self._bus.follow(stream.name, ">", search.look)
            while search.found is None and not reader.caught_up.is_set():
                await asyncio.sleep(_LOOK_SECONDS)
            await reader.stop()
            if search.found is not None:
                return await self.at(stream, search.found)
        return None

    async def send_again(self, letter: Stored) -> None:
        """Publish a dead letter under its own subject and id again, and take it away.

        Whoever handled it before knows the id and does nothing. Refused while the stream itself
        still remembers the id and would drop it.
        """
        origin = letter.headers.get(subjects.HEADER_SUBJECT, "")
        if not origin:
            raise Refused(f"dead letter {letter.sequence} does not say which subject it had")
        added = (subjects.HEADER_SUBJECT, subjects.HEADER_SEQUENCE, subjects.HEADER_REASON)
        headers = {k: v for k, v in letter.headers.items() if k not in added}
        headers[subjects.HEADER_MESSAGE_ID] = letter.headers.get(subjects.HEADER_ORIGINAL_ID, "")
        acknowledged = await self._context.publish(origin, letter.data, headers=headers)
        if acknowledged.duplicate:
            raise Refused(f"{origin} took this id within its window: try again in two minutes")
        await self.remove(letter)

    async def remove(self, letter: Stored) -> None:
        """Take a dead letter away for good."""
        await self._context.delete_msg(letter.stream, letter.sequence)


class _Search:
    """Looks for an id among messages."""

    def __init__(
        self, message_id: str, total: int, looked: Callable[[int, int], None] | None
    ) -> None:
        self._message_id = message_id
        self._total = total
        self._looked = looked
        self._done = 0
        self.found: int | None = None
        """Sequence of the message; None until it was seen."""

    def look(self, message: Message) -> None:
        self._done += 1
        if self._looked is not None:
            self._looked(self._done, self._total)
        if message.message_id == self._message_id:
            self.found = message.sequence


def _stored(stream: Stream, raw: Any) -> Stored:
    return Stored(
        stream=stream.name,
        sequence=raw.seq,
        subject=raw.subject,
        time=raw.time,
        headers=dict(raw.headers or {}),
        data=raw.data or b"",
    )
