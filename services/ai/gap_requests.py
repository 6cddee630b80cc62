"""Asks the publisher of a market for candles that windows lack, and tells what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from google.protobuf.message import Message
from quantum.market.v1 import market_pb2 as pb

from services.ai.core.gaps import GapBook, Outcome, Step
from services.ai.core.manifest import Manifest
from services.ai.core.windows import Gap, SeriesKey, Windows
from services.ai.measures import Measures
from services.catalog import subjects
from services.catalog.events import TYPES
from services.catalog.processes import AI
from services.kit.bus.bus import Bus, BusUnavailable, Outgoing
from services.kit.observe.logs import get_logger
from services.trade.candle import Candle
from services.trade.codec import time_to_pb
from services.trade.ids import digest
from services.trade.times import timeframe_ms, to_datetime

log = get_logger(__name__)

COMPONENT = "windows"
_NAMED = 3
"""Series that are named in the health; of more only the number is said."""


class GapRequests:
    """Looks at all candles that were put into the windows. Replicas ask under one id."""

    def __init__(
        self,
        *,
        windows: Windows,
        manifest: Callable[[], Manifest | None],
        warm: Callable[[], bool],
        measures: Measures,
        degraded: dict[str, str],
    ) -> None:
        """`warm` tells whether the stored candles were read: before, nothing is missing yet."""
        self._windows = windows
        self._manifest = manifest
        self._warm = warm
        self._measures = measures
        self._degraded = degraded
        self._book = GapBook()
        self._unsaid: asyncio.Queue[Outgoing] = asyncio.Queue()
        measures.open_gaps.set_function(lambda: float(len(self._book)))

    def take(self, candles: Sequence[Candle], history: bool) -> None:
        """Look at the windows of candles of one round; `history` ones can only fill gaps."""
        manifest = self._manifest()
        if manifest is None or candles[0].timeframe != manifest.timeframe or not self._warm():
            return
        gaps = self._windows.gaps(candles, manifest.window)
        if not len(self._book) and not any(gaps):
            return
        for candle, gap in zip(candles, gaps, strict=True):
            self._look(candle, gap, history)

    def _look(self, candle: Candle, gap: Gap | None, history: bool) -> None:
        series = SeriesKey.of(candle)
        known = series in self._book
        if not known and (history or gap is None):
            return
        closes = candle.close_time
        if history:
            step = self._book.filled(series, gap, closes)
        else:
            step = self._book.live(series, gap, closes, timeframe_ms(candle.timeframe))
        if step is not None:
            self._say(step)

    async def run(self, bus: Bus) -> None:
        """Publish what is to be asked and told, for ever."""
        while True:
            message = await self._unsaid.get()
            try:
                await bus.publish_all([message])
            except BusUnavailable as error:
                # A question comes again some bars later, and the health goes on saying the rest.
                log.warning("gap_not_told", subject=message.subject, error=str(error))

    def _say(self, step: Step) -> None:
        self._measures.gaps.labels(step.outcome.value).inc()
        log.warning(
            "candle_gap",
            outcome=step.outcome.value,
            series=".".join(step.series),
            first=to_datetime(step.gap.first).isoformat(),
            last=to_datetime(step.gap.last).isoformat(),
            asked=step.asked,
        )
        if step.outcome is Outcome.WANTED:
            self._unsaid.put_nowait(_wanted(step))
        elif step.outcome is Outcome.GIVEN_UP:
            self._unsaid.put_nowait(_missing(step))
        self._show()

    def _show(self) -> None:
        """Say in the health which symbols hold because candles do not come."""
        given_up = self._book.given_up()
        if not given_up:
            self._degraded.pop(COMPONENT, None)
            return
        named = [_named(series, gap) for series, gap in sorted(given_up.items())]
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        self._degraded[COMPONENT] = f"candles are missing: {', '.join(named[:_NAMED])}{more}"


def _named(series: SeriesKey, gap: Gap) -> str:
    return f"{series.symbol} {series.timeframe} from {to_datetime(gap.first):%Y-%m-%d %H:%M}"


def _wanted(step: Step) -> Outgoing:
    series, gap = step.series, step.gap
    message = pb.CandlesWanted(
        venue=series.venue,
        symbol=series.symbol,
        timeframe=series.timeframe,
        first_open_time=time_to_pb(gap.first),
        last_open_time=time_to_pb(gap.last),
        asked_at=time_to_pb(step.time),
        attempt=step.asked,
    )
    subject = subjects.candles_wanted(series.venue, series.timeframe, series.symbol)
    return _outgoing(subject, message, step)


def _missing(step: Step) -> Outgoing:
    series, gap = step.series, step.gap
    message = pb.CandlesMissing(
        venue=series.venue,
        symbol=series.symbol,
        timeframe=series.timeframe,
        first_open_time=time_to_pb(gap.first),
        last_open_time=time_to_pb(gap.last),
        attempts=step.asked,
    )
    subject = subjects.candles_missing(series.venue, series.timeframe, series.symbol)
    return _outgoing(subject, message, step)


def _outgoing(subject: str, message: Message, step: Step) -> Outgoing:
    key = digest(step.outcome.value, *step.series, step.gap.first, step.gap.last, step.time)
    headers = {
        subjects.HEADER_TYPE: TYPES[type(message)],
        subjects.HEADER_SOURCE: AI.name,
        subjects.HEADER_TIME: str(step.time),
    }
    return Outgoing(
        subject, message.SerializeToString(deterministic=True), f"gap-{key[:28]}", headers
    )
