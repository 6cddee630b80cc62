"""Worker: takes its share of a durable consumer's messages and settles each of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from services.catalog.subjects import HEADER_REASON, deadletter
from services.kit.logs import get_logger
from services.kit.message import Delivery

if TYPE_CHECKING:
    from services.kit.bus import Bus

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
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue()
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
        self._subscription = await self._client.subscribe(self._inbox, cb=self._receive)
        self._heard = asyncio.get_running_loop().time()
        await self._request()
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
        if self._subscription is not None and not self._client.is_closed:
            await self._subscription.unsubscribe()
        for task in self._tasks:
            task.cancel("stop")
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while not self._arrived.empty():
            await self._arrived.get_nowait().nak(0)

    async def _request(self) -> None:
        self._outstanding += self._batch
        body = {
            "batch": self._batch,
            "expires": 30_000_000_000,
            "idle_heartbeat": int(_HEARTBEAT_SECONDS * 1e9),
        }
        await self._client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
            json.dumps(body).encode(),
            reply=self._inbox,
        )

    async def _receive(self, raw: Any) -> None:
        self._heard = asyncio.get_running_loop().time()
        headers = raw.headers or {}
        if not raw.reply:
            if headers.get("Status") != "100":
                self._outstanding = 0
                await self._request()
            return
        self._outstanding -= 1
        tokens = raw.reply.split(".")
        delivery = Delivery(
            raw.subject,
            raw.data,
            headers,
            int(tokens[5]),
            int(tokens[4]),
            int(tokens[8]),
            partial(self._client.publish, raw.reply),
            self._bury,
        )
        self._arrived.put_nowait(delivery)

    async def _run(self) -> None:
        while True:
            batch = [await self._arrived.get()]
            while len(batch) < self._batch and not self._arrived.empty():
                batch.append(self._arrived.get_nowait())
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
            await self._ask_for_more()

    async def _ask_for_more(self) -> None:
        held = self._outstanding + self._arrived.qsize()
        if held > self._batch // 2 or self._stopping.is_set():
            return
        try:
            await self._request()
        except NatsError as error:
            # The watch asks again once the connection is back.
            log.warning("work_ask_failed", consumer=self._consumer, error=str(error))

    async def _handle(self, batch: list[Delivery]) -> None:
        # Asked before, so that the next messages travel while these are handled.
        await self._ask_for_more()
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
        for delivery in fresh:
            if not delivery.settled:
                await delivery.ack()
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
                "qt-subject": delivery.subject,
                "qt-sequence": str(delivery.sequence),
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
                await self._request()
            except (NatsError, TimeoutError) as error:
                log.warning("work_ask_failed", consumer=self._consumer, error=str(error))
