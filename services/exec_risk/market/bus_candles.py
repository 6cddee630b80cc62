"""Candles on the bus: those that closed together in one message, a symbol's past in another."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

from services.catalog import subjects
from services.catalog.processes import EXEC_RISK
from services.kit.bus.bus import Bus, Message, Outgoing
from services.kit.observe.logs import get_logger
from services.kit.observe.telemetry import now
from services.kit.observe.trace_context import traceparent
from services.trade import ids
from services.trade.candle import Candle
from services.trade.codec import CodecError, candles_from_bytes, candles_to_bytes

log = get_logger(__name__)

_MOST = 128
"""Candles of one message: replicas share out messages, and none is near the size of a message."""
_READ_BACK = 256
"""Messages of the stream in which the rounds that a term before left undecided are looked for."""
_REMEMBERED = 20_000
"""Live candles of this term that are not published again."""

_Series = tuple[str, str, str]


class BusCandles:
    """The seam `CandleSink` on the bus, for one term: each candle is published once.

    The message is what an acknowledgement, a delivery and an answer cost, so what closed together
    travels together. What the stream held before the term is read once, at its first candle.
    """

    def __init__(
        self,
        bus: Bus,
        on_published: Callable[[Sequence[Candle], Outgoing, int, int], None] | None = None,
    ) -> None:
        """`on_published` learns live candles, their message, and when it was sent and stored."""
        self._bus = bus
        self._on_published = on_published
        self._reading = asyncio.Lock()
        self._held: dict[_Series, int] | None = None
        """Close of the newest candle of each series that the stream held before this term."""
        self._sent: OrderedDict[str, None] = OrderedDict()
        """Keys of the live candles of this term."""
        self._rounds: dict[tuple[str, str], tuple[int, int]] = {}
        """Newest round of a venue and timeframe, and how many messages of it there are."""

    async def publish(self, candles: Sequence[Candle], *, history: bool) -> None:
        """Publish in order what the stream does not have yet."""
        held = await self._held_before()
        fresh = [c for c in candles if c.close_time > held.get(_series(c), 0)]
        if history:
            await self.fill(fresh)
            return
        fresh = [c for c in fresh if c.key not in self._sent]
        parts = [(part, self._live(part)) for part in _parts(fresh, _round)]
        began = now()
        await self._bus.publish_all([message for _, message in parts])
        for candle in fresh:
            self._sent[candle.key] = None
        while len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        if self._on_published is not None:
            stored = now()
            for part, message in parts:
                self._on_published(part, message, began, stored)

    async def fill(self, candles: Iterable[Candle]) -> None:
        """Publish past candles that a reader lacks, those too that later ones have followed."""
        await self._bus.publish_all([_past(part) for part in _parts(candles, _series)])

    async def _held_before(self) -> dict[_Series, int]:
        async with self._reading:
            if self._held is None:
                stream, market = subjects.MARKET.name, subjects.ALL_OF_MARKET
                # A round that later ones have followed is not the last of its subject any more.
                recent = max(1, await self._bus.last_sequence(stream) - _READ_BACK)
                self._held = _newest(
                    [
                        *await self._bus.stored(stream, market, "last"),
                        *await self._bus.stored(stream, market, recent),
                    ]
                )
            return self._held

    def _live(self, candles: Sequence[Candle]) -> Outgoing:
        first = candles[0]
        market, closes = (first.venue, first.timeframe), first.close_time
        newest, parts = self._rounds.get(market, (0, 0))
        part = parts if closes == newest else 0
        self._rounds[market] = closes, part + 1
        return _outgoing(subjects.round_candles(*market, part), candles, {})


def _series(candle: Candle) -> _Series:
    return candle.venue, candle.symbol, candle.timeframe


def _round(candle: Candle) -> tuple[str, str, int]:
    return candle.venue, candle.timeframe, candle.close_time


def _parts(
    candles: Iterable[Candle], together: Callable[[Candle], tuple[str | int, ...]]
) -> Iterator[list[Candle]]:
    """Yield the candles of each message, those in one that are `together`, in their order."""
    groups: dict[tuple[str | int, ...], list[Candle]] = {}
    for candle in candles:
        groups.setdefault(together(candle), []).append(candle)
    for group in groups.values():
        for begin in range(0, len(group), _MOST):
            yield group[begin : begin + _MOST]


def _newest(messages: Iterable[Message]) -> dict[_Series, int]:
    found: dict[_Series, int] = {}
    for message in messages:
        if not subjects.has_candles(message.subject):
            continue
        try:
            candles = candles_from_bytes(message.data).candles
        except CodecError as error:
            # Its candles count as never published: who keeps windows knows them by their time.
            log.warning("candles_unreadable", subject=message.subject, reason=str(error))
            continue
        for candle in candles:
            series = _series(candle)
            found[series] = max(candle.close_time, found.get(series, 0))
    return found


def _past(candles: Sequence[Candle]) -> Outgoing:
    first = candles[0]
    subject = subjects.past_candles(first.venue, first.timeframe, first.symbol)
    return _outgoing(subject, candles, {subjects.HEADER_HISTORY: "1"})


def _outgoing(subject: str, candles: Sequence[Candle], marks: dict[str, str]) -> Outgoing:
    first = candles[0].key
    headers = {
        subjects.HEADER_TYPE: "candles",
        subjects.HEADER_SOURCE: EXEC_RISK.name,
        subjects.HEADER_TIME: str(candles[-1].close_time),
        # whether anything comes of them is not known yet: the flag stays down
        subjects.HEADER_TRACE: traceparent(ids.trace_id(first), ids.candle_span(first)),
        **marks,
    }
    key = ids.digest("candles", *(candle.key for candle in candles), length=28)
    return Outgoing(subject, candles_to_bytes(candles), f"cnd-{key}", headers)
