"""Worker: takes its share of a durable consumer's messages and settles each of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from services.catalog.subjects import (
    HEADER_ORIGINAL_ID,
    HEADER_REASON,
    HEADER_SEQUENCE,
    HEADER_SUBJECT,
    deadletter,
)
from services.kit.bus.headers import Headers
from services.kit.bus.message import Delivery
from services.kit.bus.nats_commands import publish_command, pull_command
from services.kit.observe.logs import get_logger

if TYPE_CHECKING:
    from services.kit.bus.bus import Bus

log = get_logger(__name__)

_HEARTBEAT_SECONDS = 0.5
_SILENCE_SECONDS = 1.5
_BACKOFF_SECONDS = (0.1, 0.5, 1.0, 2.0)


class Worker:
    """Reads one durable consumer; see `Bus.work`."""

    def __init__(
        self,
        bus: Bus,
        *,
        stream: str,
        consumer: str,
        subject: str,
        handler: Callable[[list[Delivery]], Awaitable[None]],
        batch: int,
        ack_wait: float,
        max_deliver: int,
        start_policy: str,
        parallel: int,
    ) -> None:
        self._bus = bus
        self._client = bus.client
        self._stream = stream
        self._consumer = consumer
        self._handler = handler
        self._batch = batch
        self._max_deliver = max_deliver
        self._parallel = parallel
        self._config = ConsumerConfig(
            name=consumer,
            durable_name=consumer,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ack_wait,
            filter_subject=subject,
            max_ack_pending=max(1000, batch * 16),
            max_deliver=-1,
            deliver_policy=DeliverPolicy.ALL if start_policy == "all" else DeliverPolicy.NEW,
        )
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._outstanding = 0
        self._heard = 0.0
        self._loop = asyncio.get_running_loop()
        self._arrived: deque[Delivery] = deque()
        self._some = asyncio.Event()
        """Set when something has arrived."""
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._begun: dict[int, float] = {}
        self.handled = 0
        """Deliveries that were handled since the start."""
        self.last_handled = 0.0
        """Loop time of the last handled batch."""

    @property
    def handling_seconds(self) -> float:
        """Age of the oldest batch that is being handled; 0 when there is none."""
        if not self._begun:
            return 0.0
        return asyncio.get_running_loop().time() - min(self._begun.values())

    async def start(self) -> None:
        """Create or attach to the consumer and begin."""
        context = self._client.jetstream(timeout=5)
        await self._bus.denials.guard(
            f"$JS.API.CONSUMER.CREATE.{self._stream}.{self._consumer}",
            context.add_consumer(self._stream, self._config),
        )
        self._inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe_directly(self._inbox, self._receive)
        self._heard = self._loop.time()
        self._request()
        self._tasks = [
            asyncio.create_task(self._watch(), name=f"work-watch-{self._consumer}"),
            *(
                asyncio.create_task(self._run(), name=f"work-{self._consumer}-{number}")
                for number in range(self._parallel)
            ),
        ]

    def wake(self) -> None:
        """Ask again at once: the connection came back."""
        self._wake.set()

    async def stop(self) -> None:
        """Take nothing more, finish the batch in hand, give back what was not begun."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._subscription is not None:
            await self._client.drop(self._subscription)
        for task in self._tasks:
            task.cancel("stop")
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._arrived:
            await self._arrived.popleft().nak(0)

    def _request(self) -> None:
        """Ask for more; while the connection is away the watch asks again once it is back."""
        self._outstanding += self._batch
        self._client.post(
            pull_command(self._stream, self._consumer, self._inbox, self._batch, _HEARTBEAT_SECONDS)
        )

    def _receive(self, subject: bytes, reply: bytes, raw_headers: bytes, data: bytes) -> None:
        self._heard = self._loop.time()
        headers = Headers(raw_headers)
        if not reply:
            if headers.status != "100":
                self._outstanding = 0
                self._request()
            return
        self._outstanding -= 1
        tokens = reply.split(b".")
        delivery = Delivery(
            subject.decode(),
            data,
            headers,
            int(tokens[5]),
            int(tokens[4]),
            int(tokens[8]),
            partial(self._settle, reply),
            self._bury,
            reply=reply,
        )
        self._arrived.append(delivery)
        self._some.set()

    async def _settle(self, reply: bytes, answer: bytes) -> None:
        # What is not connected cannot be told; the message comes again.
        self._client.post(publish_command(reply, answer))

    def _acknowledge(self, deliveries: list[Delivery]) -> None:
        """Acknowledge what is not settled, all with one write."""
        unsettled = [delivery for delivery in deliveries if not delivery.settled]
        for delivery in unsettled:
            delivery.settled = True
        self._client.post(b"".join([publish_command(d.reply, b"+ACK") for d in unsettled]))

    async def _run(self) -> None:
        while True:
            while not self._arrived:
                self._some.clear()
                await self._some.wait()
            size = min(self._batch, len(self._arrived))
            batch = [self._arrived.popleft() for _ in range(size)]
            # A stop lets the batch in hand finish: it is shielded, the loop around it is not.
            work = asyncio.ensure_future(self._handle(batch))
            self._begun[id(work)] = asyncio.get_running_loop().time()
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                await work
                raise
            finally:
                self._begun.pop(id(work), None)
            self._ask_for_more()

    def _ask_for_more(self) -> None:
        held = self._outstanding + len(self._arrived)
        if held <= self._batch // 2 and not self._stopping.is_set():
            self._request()

    async def _handle(self, batch: list[Delivery]) -> None:
        # Asked before, so that the next messages travel while these are handled.
        self._ask_for_more()
        fresh = []
        for delivery in batch:
            if not delivery.message_id:
                # the server's own answer, which somebody sent to a subject of the stream
                await delivery.reject("without a message id: no service published it")
            elif delivery.deliveries > self._max_deliver:
                await delivery.reject(f"delivered {delivery.deliveries - 1} times without success")
            else:
                fresh.append(delivery)
        if not fresh:
            return
        try:
            await self._handler(fresh)
        except Exception:
            log.exception("work_failed", consumer=self._consumer, messages=len(fresh))
            for delivery in fresh:
                if not delivery.settled:
                    step = min(delivery.deliveries, len(_BACKOFF_SECONDS)) - 1
                    await delivery.nak(_BACKOFF_SECONDS[step])
            return
        self._acknowledge(fresh)
        self.handled += len(fresh)
        self.last_handled = asyncio.get_running_loop().time()

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        log.error("dead_letter", subject=delivery.subject, at=delivery.sequence, reason=reason)
        await self._bus.publish(
            deadletter(self._stream, self._consumer),
            delivery.data,
            message_id=f"dead-{self._stream}-{self._consumer}-{delivery.sequence}",
            headers={
                **delivery.headers,
                HEADER_REASON: reason.replace("\n", " "),
                HEADER_SUBJECT: delivery.subject,
                HEADER_SEQUENCE: str(delivery.sequence),
                HEADER_ORIGINAL_ID: delivery.message_id,
            },
        )

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout(0.25):
                    await self._wake.wait()
            except TimeoutError:
                if loop.time() - self._heard < _SILENCE_SECONDS:
                    continue
            self._wake.clear()
            if not self._client.is_connected:
                continue
            self._heard = loop.time()
            try:
                # Pull requests die with the server; the durable consumer may be gone with its disk.
                await self._client.jetstream(timeout=2).add_consumer(self._stream, self._config)
                self._outstanding = 0
                self._request()
            except (NatsError, TimeoutError) as error:
                log.warning("work_ask_failed", consumer=self._consumer, error=str(error))
