"""Candles from the bus into the windows of a replica.

Every replica reads all candles. Hearing a message and reading it are two things: reading takes a
hundred times longer, and what the server says to answers comes on the same connection.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from services.ai.core.plausible import MarketTime
from services.ai.core.windows import Insert, Windows
from services.ai.measures import Measures
from services.catalog import subjects
from services.kit.bus.bus import Bus, Follower, Message
from services.kit.observe.logs import get_logger
from services.trade.candle import Candle
from services.trade.codec import CandlesRead, CodecError, candles_from_bytes

log = get_logger(__name__)

_RECENT = 256
"""Messages of which the candles are kept: who answers one need not read it again."""


def live_candles(data: bytes) -> CandlesRead:
    """Read a message of live candles; CodecError when it holds none, or not those of one round."""
    read = candles_from_bytes(data)
    if not read.candles:
        raise CodecError(read.refused[0])
    rounds = {(c.venue, c.timeframe, c.close_time) for c in read.candles}
    if len(rounds) > 1:
        raise CodecError(f"candles of {len(rounds)} rounds in one message of live ones")
    return read


class CandleReader:
    """Keeps the windows."""

    def __init__(
        self,
        *,
        windows: Windows,
        measures: Measures,
        progress: dict[str, float],
        on_kept: Callable[[Sequence[Candle], bool], None],
        on_live: Callable[[Candle], None],
    ) -> None:
        """`on_kept` learns the candles of a round that were put into the windows, or a single one
        of the past and that it is one; `on_live` learns the first candle of each live round.
        """
        self.windows = windows
        self.warm = False
        """True once the stored candles were read."""
        self._measures = measures
        self._progress = progress
        self._on_kept = on_kept
        self._on_live = on_live
        self._market_time = MarketTime()
        self._follower: Follower | None = None
        self._heard: deque[Message] = deque()
        """What has come and is not read yet."""
        self._some = asyncio.Event()
        """Set when something has come."""
        self._recent: OrderedDict[int, CandlesRead] = OrderedDict()
        """Live candles in the windows, by stream sequence."""

    async def start(self, bus: Bus) -> None:
        """Begin to follow the candles, and read all that are stored."""
        market = subjects.MARKET.name
        self._follower = await bus.follow(market, subjects.ALL_OF_MARKET, self._hear)
        await self._follower.caught_up.wait()
        await self._read_what_came()
        self.warm = True

    async def run(self) -> None:
        """Read what comes, for ever."""
        while True:
            await self._some.wait()
            self._some.clear()
            await self._read_what_came()

    async def reach(self, sequence: int, seconds: float) -> bool:
        """Have read all up to a stream sequence; False when it does not come in time."""
        assert self._follower is not None  # noqa: S101 - nobody answers before the start
        there = await self._follower.wait_for(sequence, seconds)
        while self._heard and self._heard[0].sequence <= sequence:
            self._read(self._heard.popleft())
        return there

    def has(self, sequence: int) -> bool:
        """Tell whether a message has come."""
        return self._follower is not None and sequence <= self._follower.position

    def candles_of(self, message: Message) -> CandlesRead:
        """Return the live candles of a message; CodecError as `live_candles`."""
        return self._recent.get(message.sequence) or live_candles(message.data)

    def _hear(self, message: Message) -> None:
        self._heard.append(message)
        self._some.set()

    async def _read_what_came(self) -> None:
        """Read a message at a time, so that whoever has to answer one has a turn in between."""
        while self._heard:
            self._read(self._heard.popleft())
            await asyncio.sleep(0)

    def _read(self, message: Message) -> None:
        if not subjects.has_candles(message.subject):
            return
        try:
            if subjects.HEADER_HISTORY in message.headers:
                self._read_past(message)
            else:
                self._read_live(message)
        except CodecError as error:
            self._refuse(message, str(error))
        except Exception:
            # One message must not end the reading of all that come after it.
            self._measures.errors.labels("bad_candle").inc()
            log.exception("candles_not_kept", subject=message.subject, at=message.sequence)
        self._progress["last_candle_time"] = float(self.windows.newest_close_of_all)

    def _read_past(self, message: Message) -> None:
        read = candles_from_bytes(message.data)
        self._count(message, read)
        for candle in read.candles:
            for believed in self._believed([candle]):
                self._insert(message, [believed], history=True)

    def _read_live(self, message: Message) -> None:
        read = live_candles(message.data)
        self._count(message, read)
        believed = self._believed(read.candles)
        if believed == read.candles:
            self._insert(message, believed, history=False)
        else:
            for candle in believed:
                self._insert(message, [candle], history=False)
        self._recent[message.sequence] = read
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    def _count(self, message: Message, read: CandlesRead) -> None:
        self._measures.candles.inc(len(read.candles))
        for reason in read.refused:
            self._refuse(message, reason)

    def _believed(self, candles: Sequence[Candle]) -> list[Candle]:
        """Return which to keep now of candles that closed together, and what waited for them."""
        believed = self._market_time.take(candles)
        if len(believed) < len(candles):
            self._measures.errors.labels("future_candle").inc()
            log.warning("future_candle", candle=candles[0].key)
        return believed

    def _insert(self, message: Message, candles: Sequence[Candle], *, history: bool) -> None:
        """Keep candles of one round, and tell who looks at windows."""
        try:
            results = self.windows.insert_round(candles)
        except ValueError as error:
            self._refuse(message, str(error))
            return
        for candle, result in zip(candles, results, strict=True):
            if result is Insert.CONFLICT:
                self._measures.errors.labels("conflicting_candle").inc()
                log.warning("conflicting_candle", candle=candle.key)
        self._on_kept(candles, history)
        if not history:
            self._on_live(candles[0])

    def _refuse(self, message: Message, reason: str) -> None:
        self._measures.errors.labels("bad_candle").inc()
        log.warning("bad_candle", subject=message.subject, reason=reason)
