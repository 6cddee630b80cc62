"""What happens to the account, handed to every caller that listens: one reader for all of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from google.protobuf.message import DecodeError
from quantum.exec_risk.v1 import exec_risk_service_pb2 as pb

from services.catalog import events, subjects
from services.kit.bus.bus import Bus
from services.kit.bus.message import Message
from services.kit.errors import ResourceExhausted, ServiceError, Unavailable
from services.kit.observe.logs import get_logger
from services.kit.process import Process
from services.trade.codec import time_to_pb

log = get_logger(__name__)

FIELDS = {
    events.ORDER_CHANGED: "order_changed",
    events.FILL_RECORDED: "fill_recorded",
    events.POSITION_OPENED: "position_opened",
    events.POSITION_CHANGED: "position_changed",
    events.POSITION_CLOSED: "position_closed",
    events.EXECUTION_CHANGED: "execution_changed",
    events.RISK_ALERT: "risk_alert",
    events.TRADING_STATE_CHANGED: "trading_state_changed",
    events.EMERGENCY_STOP: "emergency_stopped",
}
"""Types that a caller asked for by the contract, and where each is in the answer."""
_WAITING = 1000
"""Updates that may wait for one caller."""
_WATCH_SECONDS = 0.5


class Listener:
    """One caller: what waits for it, and why it was ended."""

    def __init__(self, symbol: str, waiting: int) -> None:
        self._symbol = symbol
        self._most = waiting
        self._queue: deque[pb.StreamUpdatesResponse] = deque()
        self._wake = asyncio.Event()
        self._end: ServiceError | None = None

    def wants(self, key: str) -> bool:
        """Tell whether the caller asked for what concerns this symbol or the account."""
        return not self._symbol or key == self._symbol

    def put(self, update: pb.StreamUpdatesResponse) -> None:
        """Add an update; a caller that does not read as fast as the account trades is ended."""
        if self._end is not None:
            return
        if len(self._queue) < self._most:
            self._queue.append(update)
            self._wake.set()
            return
        text = f"{self._most} updates wait; read faster, or ask for one symbol"
        self.end(ResourceExhausted(text, reason="SLOW_CALLER", retry_seconds=1.0))

    def end(self, error: ServiceError) -> None:
        """End the stream with an error; what still waits is dropped, for there is a gap anyway."""
        self._end = self._end or error
        self._queue.clear()
        self._wake.set()

    async def updates(self) -> AsyncIterator[pb.StreamUpdatesResponse]:
        """Yield updates until the stream is ended, which raises."""
        while True:
            while self._queue:
                yield self._queue.popleft()
            if self._end is not None:
                raise self._end
            self._wake.clear()
            await self._wake.wait()


class Updates:
    """Reads the events of one account from now on, once for all callers of this process."""

    def __init__(self, account: str, *, waiting: int = _WAITING) -> None:
        self._account = account
        self._waiting = waiting
        self._listeners: set[Listener] = set()

    async def start(self, process: Process, bus: Bus) -> None:
        """Begin to read the bus, until the process ends; a drain ends the streams."""
        subject = subjects.account_events(self._account)
        await bus.follow(subjects.EVENTS.name, subject, self.take, start="new")
        process.on_drain(self.drain)
        process.spawn("updates", self._end_at_drain(process))

    async def _end_at_drain(self, process: Process) -> None:
        while True:
            if process.draining:
                await self.drain()
            await process.clock.sleep(_WATCH_SECONDS)

    def take(self, message: Message) -> None:
        """Hand an event to whoever wants it."""
        field = FIELDS.get(message.type)
        key = message.subject.rsplit(".", 1)[1]
        wanting = [one for one in self._listeners if one.wants(key)]
        if field is None or not wanting:
            return
        try:
            event = events.MESSAGES[message.type].FromString(message.data)
        except DecodeError as error:
            # the ledger buries it; here nobody may believe that the stream is whole
            log.error("update_unreadable", subject=message.subject, error=str(error))
            self.end("an event cannot be read", reason="UNREADABLE_EVENT")
            return
        time = time_to_pb(message.market_time)
        update = pb.StreamUpdatesResponse(type=message.type, time=time)
        getattr(update, field).CopyFrom(event)
        for one in wanting:
            one.put(update)

    @contextmanager
    def listener(self, symbol: str) -> Iterator[Listener]:
        """Listen from now on, for the time of the block."""
        one = Listener(symbol, self._waiting)
        self._listeners.add(one)
        try:
            yield one
        finally:
            self._listeners.discard(one)

    def end(self, text: str, *, reason: str) -> None:
        """End every stream with Unavailable: the callers come back, to another replica."""
        for one in self._listeners:
            one.end(Unavailable(text, reason=reason, retry_seconds=1.0))

    async def drain(self) -> None:
        """End every stream because this replica leaves rotation."""
        self.end("this replica leaves rotation; ask again", reason="DRAINING")
