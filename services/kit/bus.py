"""The bus: messages on NATS JetStream, published with every acknowledgement counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from nats.aio.client import Client
from nats.errors import OutboundBufferLimitError
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from services.catalog.subjects import HEADER_MESSAGE_ID, Stream
from services.kit.follow import Follower
from services.kit.logs import get_logger
from services.kit.message import Delivery, Message, Outgoing
from services.kit.nats_client import HeaderClient
from services.kit.work import Worker

__all__ = ["Bus", "BusUnavailable", "Delivery", "Follower", "Message", "Outgoing", "Worker"]

log = get_logger(__name__)

_RESEND_SECONDS = 1.0
_MAX_IN_FLIGHT = 2000


class BusUnavailable(Exception):
    """The server did not acknowledge in time. The message may still be stored; its id dedupes."""


class BusRefused(Exception):
    """The server refused the message for good, for example because it is too large."""


class Bus:
    """One connection to the server. Lost connections come back by themselves."""

    def __init__(self, client: Client, publisher: _Publisher) -> None:
        self.client = client
        self._publisher = publisher
        self._readers: list[Follower | Worker] = []

    @classmethod
    async def connect(cls, url: str, name: str) -> Bus:
        """Connect, waiting for the server for as long as it takes."""
        readers: list[Follower | Worker] = []

        async def on_error(error: Exception) -> None:
            log.warning("bus_error", error=str(error), kind=type(error).__name__)

        async def on_disconnect() -> None:
            log.warning("bus_disconnected")

        async def on_reconnect() -> None:
            log.info("bus_reconnected")
            for reader in readers:
                reader.wake()

        await (client := HeaderClient()).connect(
            url,
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
        publisher = _Publisher(client)
        await publisher.start()
        bus = cls(client, publisher)
        bus._readers = readers
        return bus

    @property
    def connected(self) -> bool:
        """True while the connection is up."""
        return bool(self.client.is_connected)

    async def declare(self, streams: Sequence[Stream]) -> None:
        """Create the streams, or bring existing ones to these limits."""
        context = self.client.jetstream(timeout=5)
        for stream in streams:
            config = _stream_config(stream)
            try:
                await context.stream_info(stream.name)
                await context.update_stream(config)
            except NotFoundError:
                await context.add_stream(config)

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

        BusUnavailable: no acknowledgement within the deadline; BusRefused: the server said no.
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
        follower = Follower(self.client, stream, subject, handler, start)
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
            raw = await self.client.jetstream(timeout=5).get_last_msg(stream, subject)
        except NotFoundError:
            return None
        headers = dict(raw.headers or {})
        return Message(raw.subject or subject, raw.data or b"", headers, raw.seq or 0)

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


def _stream_config(stream: Stream) -> StreamConfig:
    return StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.WORK_QUEUE if stream.work_queue else RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW if stream.discard_new else DiscardPolicy.OLD,
        max_age=stream.max_age_seconds,
        max_msgs_per_subject=stream.max_messages_per_subject,
        max_bytes=stream.max_bytes,
        duplicate_window=stream.duplicate_window_seconds,
        allow_direct=True,
    )


class _Publisher:
    """Publishes without waiting, matches acknowledgements, resends what got none.

    nats-py's own `publish_async` futures never resolve on an error reply and leak permits when a
    connection is lost.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._permits = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self._inbox = client.new_inbox()
        self._open: dict[str, tuple[Outgoing, float, asyncio.Future[int]]] = {}
        self._next = 0
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._client.subscribe(f"{self._inbox}.*", cb=self._acknowledged)
        self._sweeper = asyncio.create_task(self._sweep(), name="bus-resend")

    async def send(self, message: Outgoing, deadline: float) -> asyncio.Future[int]:
        try:
            async with asyncio.timeout(deadline):
                await self._permits.acquire()
        except TimeoutError as error:
            raise BusUnavailable("too many messages wait for acknowledgement") from error
        self._next += 1
        key = str(self._next)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        self._open[key] = (message, loop.time(), future)
        await self._transmit(key, message)
        return future

    async def _transmit(self, key: str, message: Outgoing) -> bool:
        headers = {**message.headers, HEADER_MESSAGE_ID: message.message_id}
        try:
            await self._client.publish(
                message.subject, message.data, reply=f"{self._inbox}.{key}", headers=headers
            )
        except OutboundBufferLimitError:
            # The sweep sends it again once the connection has drained its buffer.
            log.warning("bus_buffer_full", subject=message.subject)
            return False
        return True

    async def _acknowledged(self, raw: Any) -> None:
        key = raw.subject.rsplit(".", 1)[1]
        entry = self._open.get(key)
        if entry is None or (raw.headers and raw.headers.get("Status") == "503"):
            return
        answer = json.loads(raw.data)
        error = answer.get("error")
        if error and error.get("code") == 503:
            return  # no space or no leader now: swept again until the caller gives up
        self._forget(key)
        if entry[2].done():
            return
        if error:
            entry[2].set_exception(BusRefused(str(error.get("description"))))
        else:
            entry[2].set_result(int(answer["seq"]))

    def _forget(self, key: str) -> None:
        if self._open.pop(key, None) is not None:
            self._permits.release()

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.2)
            for key, (message, sent, future) in list(self._open.items()):
                if future.done():
                    self._forget(key)
                elif self._client.is_connected and loop.time() - sent > _RESEND_SECONDS:
                    self._open[key] = (message, loop.time(), future)
                    if not await self._transmit(key, message):
                        break

    async def close(self) -> None:
        if self._sweeper:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
