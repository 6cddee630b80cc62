"""Follower: every message of a stream, in order, without gaps, across server restarts.

An ephemeral pull consumer with overlapping requests. Pull gives back pressure, which nats-py's
ordered push consumer has not: that one drops messages of a slow reader without a word. After a
restart of the server, a lost consumer or a jump in the consumer's own numbering, a new consumer
starts right after the last message that was handed out.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from services.kit.bus.errors import BusDenied
from services.kit.bus.headers import Headers
from services.kit.bus.login import Denials
from services.kit.bus.message import Message
from services.kit.bus.nats_client import HeaderClient
from services.kit.bus.nats_commands import pull_command
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

_BATCH = 1000
_HEARTBEAT_SECONDS = 0.5
_SILENCE_SECONDS = 1.5
_ANSWER_SECONDS = 2.0
_OPEN_TRIES = 10
"""A server that is slow for some seconds is no reason to end a process that has just started."""
_POLICIES = {
    "all": DeliverPolicy.ALL,
    "new": DeliverPolicy.NEW,
    "last": DeliverPolicy.LAST_PER_SUBJECT,
}


class Follower:
    """Reads one stream; see `Bus.follow`."""

    def __init__(
        self,
        client: HeaderClient,
        stream: str,
        subject: str,
        handler: Callable[[Message], None],
        start: str | int,
        denials: Denials,
    ) -> None:
        self._client = client
        self._denials = denials
        self._stream = stream
        self._subject = subject
        self._handler = handler
        self._start = start
        self._consumer = ""
        self._consumer_token = b""
        self._consumer_sequence = 0
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._outstanding = 0
        self._heard = 0.0
        self._loop = asyncio.get_running_loop()
        self._watchdog: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self.position = 0
        """Stream sequence of the last message that was handed out."""
        self.caught_up = asyncio.Event()
        """Set once everything that was stored at the start was handed out."""
        self.failure: Exception | None = None
        """What the handler raised last; the reader goes on with the next message."""

    @property
    def silent_seconds(self) -> float:
        """Seconds since the server gave the last sign of this consumer, a message or a beat."""
        return asyncio.get_running_loop().time() - self._heard

    async def start(self) -> None:
        """Open the consumer; raises when the stream does not exist, or nobody answers for long."""
        for tries_left in reversed(range(_OPEN_TRIES)):
            try:
                await self._open()
                break
            except TimeoutError:
                if not tries_left:
                    raise
                log.warning("follow_open_slow", stream=self._stream, tries_left=tries_left)
        self._watchdog = asyncio.create_task(self._watch(), name=f"follow-{self._stream}")

    async def wait_for(self, sequence: int, timeout: float) -> bool:
        """Wait until the message of this sequence was handed out; False when it takes longer."""
        try:
            async with asyncio.timeout(timeout):
                while self.position < sequence:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return False
        return True

    def wake(self) -> None:
        """Look at once whether the consumer is still there: the connection came back."""
        self._wake.set()

    async def stop(self) -> None:
        """Stop reading."""
        if self._watchdog is not None:
            self._watchdog.cancel()
            await asyncio.gather(self._watchdog, return_exceptions=True)
        await self._drop_subscription()

    async def _open(self) -> None:
        await self._drop_subscription()
        config = ConsumerConfig(
            # nobody else can guess it, and so nobody else can read from it
            name=f"follow-{secrets.token_hex(12)}",
            ack_policy=AckPolicy.NONE,
            filter_subject=self._subject,
            inactive_threshold=30.0,
            mem_storage=True,
        )
        if self.position:
            config.deliver_policy = DeliverPolicy.BY_START_SEQUENCE
            config.opt_start_seq = self.position + 1
        elif isinstance(self._start, int):
            config.deliver_policy = DeliverPolicy.BY_START_SEQUENCE
            config.opt_start_seq = max(1, self._start)
        else:
            config.deliver_policy = _POLICIES[self._start]
        context = self._client.jetstream(timeout=_ANSWER_SECONDS)
        info = await self._denials.guard(
            f"$JS.API.CONSUMER.CREATE.{self._stream}.{config.name}",
            context.add_consumer(self._stream, config),
        )
        self._consumer, self._consumer_sequence, self._outstanding = info.name, 0, 0
        self._consumer_token = info.name.encode()
        if not info.num_pending:
            self.caught_up.set()
            if self._start == "new" and not self.position:
                stream = await context.stream_info(self._stream)
                self.position = int(stream.state.last_seq)
        self._inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe_directly(self._inbox, self._receive)
        self._heard = self._loop.time()
        self._request()
        self._request()

    async def _drop_subscription(self) -> None:
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            await self._client.drop(subscription)

    def _request(self) -> None:
        """Ask for more; while the connection is away the watch will, with a new consumer."""
        self._outstanding += _BATCH
        self._client.post(
            pull_command(self._stream, self._consumer, self._inbox, _BATCH, _HEARTBEAT_SECONDS)
        )

    def _receive(self, subject: bytes, reply: bytes, raw_headers: bytes, data: bytes) -> None:
        if self._subscription is None:
            return
        self._heard = self._loop.time()
        headers = Headers(raw_headers)
        if not reply:
            self._control(headers)
            return
        tokens = reply.split(b".")
        if tokens[3] != self._consumer_token:
            return
        consumer_sequence = int(tokens[6])
        if consumer_sequence != self._consumer_sequence + 1:
            log.warning("follow_gap", stream=self._stream, at=self.position)
            self.wake()
            return
        self._consumer_sequence = consumer_sequence
        self._outstanding -= 1
        sequence, pending = int(tokens[5]), int(tokens[8])
        self._hand_out(Message(subject.decode(), data, headers, sequence, 1, pending))
        if self._outstanding <= _BATCH:
            self._request()

    def _control(self, headers: Headers) -> None:
        status = headers.status
        if status == "100":
            return
        unsent = int(headers.get("Nats-Pending-Messages", 0) or 0)
        self._outstanding = max(0, self._outstanding - (unsent or _BATCH))
        if status in ("404", "408", "409"):
            if self._outstanding <= _BATCH:
                self._request()
        else:
            self.wake()

    def _hand_out(self, message: Message) -> None:
        try:
            if message.message_id:
                self._handler(message)
            else:
                # the server's own answer, which somebody sent to a subject of the stream
                log.error("follow_not_a_message", subject=message.subject, at=message.sequence)
        except Exception as error:
            self.failure = error
            log.exception("follow_handler_failed", subject=message.subject, at=message.sequence)
        self.position = message.sequence
        self._moved.set()
        if not message.pending:
            self.caught_up.set()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(0.5):
                    await self._wake.wait()
            except TimeoutError:
                if loop.time() - self._heard < _SILENCE_SECONDS:
                    continue
            self._wake.clear()
            if not self._client.is_connected:
                continue
            try:
                await self._open()
            except (NatsError, TimeoutError, BusDenied) as error:
                log.warning("follow_reopen_failed", stream=self._stream, error=str(error))
