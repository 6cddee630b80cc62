"""Publishing: many messages at once, every acknowledgement counted."""

from __future__ import annotations

import asyncio
import json
import re

from nats.errors import OutboundBufferLimitError

from services.catalog.subjects import HEADER_MESSAGE_ID
from services.kit.bus.errors import BusDenied, BusRefused, BusUnavailable
from services.kit.bus.message import Outgoing
from services.kit.bus.nats_client import HeaderClient
from services.kit.bus.nats_commands import publish_with_headers
from services.kit.observe.logs import get_logger

log = get_logger(__name__)

_RESEND_SECONDS = 1.0
_MAX_IN_FLIGHT = 2000
_STORED = re.compile(rb'{"stream":"[^"\\]*", ?"seq":([0-9]+)[,}]')
"""How the server begins an answer that is no error; any other is read as JSON."""
_BUFFERED_BYTES = 4 << 20
"""With more than this not yet written, sending waits for the connection."""


class Publisher:
    """Publishes without waiting, matches acknowledgements, resends what got none.

    nats-py's own `publish_async` futures never resolve on an error reply and leak permits when a
    connection is lost.
    """

    def __init__(self, client: HeaderClient) -> None:
        self._client = client
        self._permits = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self._inbox = ""
        self._open: dict[str, tuple[Outgoing, float, asyncio.Future[int]]] = {}
        self._next = 0
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._inbox = self._client.new_inbox()
        await self._client.subscribe_directly(f"{self._inbox}.*", self._acknowledged)
        self._sweeper = asyncio.create_task(self._sweep(), name="bus-resend")

    async def send(self, message: Outgoing, deadline: float) -> asyncio.Future[int]:
        if self._permits.locked():
            await self._wait_for_permit(deadline)
        else:
            await self._permits.acquire()
        self._next += 1
        key = str(self._next)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        self._open[key] = (message, loop.time(), future)
        await self._transmit(key, message)
        return future

    async def _wait_for_permit(self, deadline: float) -> None:
        try:
            async with asyncio.timeout(deadline):
                await self._permits.acquire()
        except TimeoutError as error:
            raise BusUnavailable("too many messages wait for acknowledgement") from error

    async def _transmit(self, key: str, message: Outgoing) -> bool:
        headers = {**message.headers, HEADER_MESSAGE_ID: message.message_id}
        reply = f"{self._inbox}.{key}"
        command = publish_with_headers(message.subject, reply, headers, message.data)
        small = len(message.data) <= self._client.max_payload
        roomy = self._client.pending_data_size < _BUFFERED_BYTES
        if command is not None and small and roomy and self._client.post(command):
            return True
        try:
            await self._client.publish(message.subject, message.data, reply=reply, headers=headers)
        except OutboundBufferLimitError:
            # The sweep sends it again once the connection has drained its buffer.
            log.warning("bus_buffer_full", subject=message.subject)
            return False
        return True

    def _acknowledged(self, subject: bytes, _: bytes, raw_headers: bytes, data: bytes) -> None:
        key = subject[subject.rfind(b".") + 1 :].decode()
        entry = self._open.get(key)
        if entry is None or raw_headers:
            return  # nobody stores it now: swept again until the caller gives up
        if (stored := _STORED.match(data)) and b'"error"' not in data:
            self._forget(key)
            if not entry[2].done():
                entry[2].set_result(int(stored[1]))
            return
        answer = json.loads(data)
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

    def denied(self, subject: str) -> None:
        """Tell those who wait for a message on this subject, in lower case, that it was denied."""
        for key, (message, _, future) in list(self._open.items()):
            if message.subject.lower() == subject:
                self._forget(key)
                if not future.done():
                    text = f"this user of the bus may not publish to {message.subject}"
                    future.set_exception(BusDenied(text))

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
