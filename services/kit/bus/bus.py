"""The bus: messages on NATS JetStream, published with every acknowledgement counted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from nats.js.errors import NotFoundError

from services.catalog.subjects import Stream
from services.kit.bus.errors import BusDenied, BusRefused, BusUnavailable
from services.kit.bus.follow import Follower
from services.kit.bus.login import BusLogin, Denials
from services.kit.bus.message import Delivery, Message, Outgoing
from services.kit.bus.nats_client import HeaderClient
from services.kit.bus.publisher import Publisher
from services.kit.bus.streams import differences, stream_config
from services.kit.bus.work import Worker
from services.kit.observe.logs import get_logger

__all__ = [
    "Bus",
    "BusDenied",
    "BusRefused",
    "BusUnavailable",
    "Delivery",
    "Follower",
    "Message",
    "Outgoing",
    "Worker",
]

log = get_logger(__name__)


class Bus:
    """One connection to the server. Lost connections come back by themselves."""

    def __init__(self, client: HeaderClient, publisher: Publisher, denials: Denials) -> None:
        self.client = client
        self.denials = denials
        self._publisher = publisher
        self._readers: list[Follower | Worker] = []

    @classmethod
    async def connect(cls, url: str, name: str, login: BusLogin | None = None) -> Bus:
        """Connect, waiting for the server for as long as it takes; BadLogin for a bad file."""
        readers: list[Follower | Worker] = []
        denials = Denials()
        client = HeaderClient()
        options = (login or BusLogin()).options()

        async def on_error(error: Exception) -> None:
            denied = denials.hear(error)
            if denied is not None:
                log.error("bus_denied", subject=denied)
                publisher.denied(denied)
                return
            log.warning("bus_error", error=str(error), kind=type(error).__name__)

        async def on_disconnect() -> None:
            if not client.is_closed:
                log.warning("bus_disconnected")

        async def on_reconnect() -> None:
            log.info("bus_reconnected")
            for reader in readers:
                reader.wake()

        publisher = Publisher(client)
        await client.connect(
            url,
            **options,
            name=name,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,  # type: ignore[arg-type] # it is only slept
            ping_interval=5,
            max_outstanding_pings=2,
            error_cb=on_error,
            disconnected_cb=on_disconnect,
            reconnected_cb=on_reconnect,
            pending_size=16 << 20,
        )
        await publisher.start()
        bus = cls(client, publisher, denials)
        bus._readers = readers
        return bus

    @property
    def connected(self) -> bool:
        """True while the connection is up."""
        return bool(self.client.is_connected)

    @property
    def handling_seconds(self) -> float:
        """Age of the oldest message that a worker has begun with and not finished."""
        workers = (reader for reader in self._readers if isinstance(reader, Worker))
        return max((worker.handling_seconds for worker in workers), default=0.0)

    async def declare(self, streams: Sequence[Stream], replicas: int = 1) -> None:
        """Create the streams, or bring existing ones to these limits: the operator's right."""
        context = self.client.jetstream(timeout=5)
        for stream in streams:
            config = stream_config(stream, replicas)
            try:
                await context.stream_info(stream.name)
                await context.update_stream(config)
            except NotFoundError:
                await context.add_stream(config)

    async def require(self, streams: Sequence[Stream]) -> None:
        """See that the streams are there as declared; BusUnavailable says what is not."""
        context = self.client.jetstream(timeout=5)
        for stream in streams:
            try:
                asked = f"$JS.API.STREAM.INFO.{stream.name}"
                found = await self.denials.guard(asked, context.stream_info(stream.name))
            except NotFoundError as error:
                raise BusUnavailable(f"stream {stream.name} is missing: qt streams") from error
            except TimeoutError as error:
                raise BusUnavailable(f"stream {stream.name} is not told of in time") from error
            if different := differences(stream, found.config):
                raise BusUnavailable(f"{'; '.join(different)}: qt streams")

    async def publish(
        self,
        subject: str,
        data: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        deadline: float = 10.0,
    ) -> int:
        """Publish once in effect and return the stream sequence.

        BusUnavailable: no acknowledgement within the deadline; BusRefused: the server said no,
        as BusDenied when this user may not publish to the subject.
        """
        message = Outgoing(subject, data, message_id, dict(headers or {}))
        return (await self.publish_all([message], deadline=deadline))[0]

    async def publish_all(
        self, messages: Sequence[Outgoing], *, deadline: float = 10.0
    ) -> list[int]:
        """Publish in order without waiting between, and return the stream sequences."""
        pending = [await self._publisher.send(message, deadline) for message in messages]
        try:
            async with asyncio.timeout(deadline):
                return [await future for future in pending]
        except TimeoutError as error:
            text = f"no acknowledgement of {messages[0].subject} within {deadline} s"
            raise BusUnavailable(text) from error
        finally:
            for future in pending:
                future.cancel()

    async def follow(
        self,
        stream: str,
        subject: str,
        handler: Callable[[Message], None],
        *,
        start: str | int = "all",
    ) -> Follower:
        """Hand every message of a stream to the handler, in order, without gaps, for ever.

        `start`: `all` from the first stored message, `new` after the last, `last` with the last
        of each subject, or a stream sequence.
        """
        follower = Follower(self.client, stream, subject, handler, start, self.denials)
        await follower.start()
        self._readers.append(follower)
        return follower

    async def work(
        self,
        stream: str,
        consumer: str,
        subject: str,
        handler: Callable[[list[Delivery]], Awaitable[None]],
        *,
        batch: int = 100,
        ack_wait: float = 10.0,
        max_deliver: int = 5,
        start: str = "all",
        parallel: int = 1,
    ) -> Worker:
        """Share the messages of a stream with all workers of the same durable consumer.

        Deliveries that the handler did not settle are acknowledged when it returns and come again
        after a delay when it raises; after `max_deliver` times they go to the dead-letter stream.
        `parallel` batches are handled at once: more than one where their order does not matter.
        """
        worker = Worker(
            self,
            stream=stream,
            consumer=consumer,
            subject=subject,
            handler=handler,
            batch=batch,
            ack_wait=ack_wait,
            max_deliver=max_deliver,
            start_policy=start,
            parallel=parallel,
        )
        await worker.start()
        self._readers.append(worker)
        return worker

    async def last(self, stream: str, subject: str) -> Message | None:
        """Return the last message of a subject; None when there is none."""
        try:
            context = self.client.jetstream(timeout=5)
            raw = await self.denials.guard(
                f"$JS.API.STREAM.MSG.GET.{stream}", context.get_last_msg(stream, subject)
            )
        except NotFoundError:
            return None
        headers = dict(raw.headers or {})
        return Message(raw.subject or subject, raw.data or b"", headers, raw.seq or 0)

    async def stored(
        self, stream: str, subject: str, start: str | int, *, deadline: float = 10.0
    ) -> list[Message]:
        """Return what is stored now from `start` on, as `follow` takes it, oldest first.

        BusUnavailable when it is not all there within the deadline.
        """
        found: list[Message] = []
        reader = Follower(self.client, stream, subject, found.append, start, self.denials)
        try:
            async with asyncio.timeout(deadline):
                await reader.start()
                await reader.caught_up.wait()
        except TimeoutError as error:
            text = f"the messages of {subject} are not all there within {deadline} s"
            raise BusUnavailable(text) from error
        finally:
            await reader.stop()
        return found

    async def last_sequence(self, stream: str) -> int:
        """Return the sequence of the last message that the stream ever got."""
        info = await self.client.jetstream(timeout=5).stream_info(stream)
        return int(info.state.last_seq)

    async def close(self) -> None:
        """Stop readers, send what is buffered, disconnect."""
        for reader in self._readers:
            await reader.stop()
        await self._publisher.close()
        if self.client.is_connected:
            await self.client.flush(timeout=2)
        await self.client.close()
